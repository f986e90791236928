// Runs before the page is drawn, so that a chosen colour scheme does not flash.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  let chosen = "";
  try {
    chosen = localStorage.getItem("dashboard-colours") || "";
  } catch {
    // storage may be forbidden; then the system's colours stay
  }
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
})();
