"""The door: logging in with a key of the gateway, and out again."""

from time import time

import llm_gateway_api as gw
import msgspec

from llm_gateway_admin_dashboard.http import (
    ROOT,
    Form,
    cookie,
    on_loopback,
    own_site,
    page,
    redirect,
    set_cookie,
)
from llm_gateway_admin_dashboard.sessions import COOKIE, FORM_COOKIE, Sealer, Session, fresh
from llm_gateway_admin_dashboard.settings import DashboardSettings
from llm_gateway_admin_dashboard.visits import Parts

FORM_SECONDS = 3600
TURN = 0.5  # a session is sealed anew when half of its idle time has passed
# A poll of a page that lies open is no sign of its reader.
POLLS = "hx-request"

States = tuple[gw.StateBackend | None, gw.StateBackend | None]


class Door:
    """`states` are the shared one and the process' own, for when that one is lost."""

    def __init__(
        self,
        settings: DashboardSettings,
        sealer: Sealer,
        inside: gw.Inside,
        states: States,
        parts: Parts,
    ) -> None:
        self.sealer = sealer
        self._settings = settings
        self._inside = inside
        self._state, self._local = states
        self._parts = parts
        self._idle = int(settings.session_minutes * 60)
        self._whole = int(settings.session_hours * 3600)

    # --- the form ------------------------------------------------------------------------

    async def show(self, request: gw.EndpointRequest) -> gw.EndpointResponse:
        """The form; its token belongs to a session of nobody, in a cookie of its own."""
        if await self.session(request) is not None:
            return redirect("overview")
        ended = "ended" in request.query
        return self._form(request, "Your session has ended; log in again." if ended else "")

    async def enter(self, request: gw.EndpointRequest) -> gw.EndpointResponse:
        session, form = self._form_session(request), Form(request.body)
        if session is None or not own_site(request.arrival.headers):
            return self._form(request, self._lost(request), 403)
        if not self.sealer.fits(session, form.text("token")):
            return self._form(request, "This form was out of date; try again.", 403)
        if (wait := await self._waiting(request.arrival.peer)) is not None:
            text = f"Too many attempts from this address; try again in {wait} s."
            return self._form(request, text, 429, {"retry-after": str(wait)})
        key = form.text("key")
        made = fresh(time(), key)
        try:
            self.admits((await self._inside.known(self.carrying(request.arrival, made))).principal)
        except gw.GatewayError as error:
            status = error.status if error.status in (401, 403, 503) else 403
            return self._form(request, str(error) if key else "Type a key.", status)
        return redirect("overview", self._kept(request, made))

    async def leave(self, request: gw.EndpointRequest, session: Session) -> gw.EndpointResponse:
        """The cookie goes, and its session opens nothing any more wherever it was copied to."""
        take = gw.Take(_out_key(session), 1, 1, "window", seconds=self._whole)
        for state in (self._state, self._local):
            if state is not None:
                try:
                    await state.take([take], force=True)
                except Exception:
                    continue  # the other one knows at least
        return redirect("login", self._cookie(request, "", 0))

    # --- of each visit -------------------------------------------------------------------

    async def session(self, request: gw.EndpointRequest) -> Session | None:
        """Who is logged in; None for nobody."""
        session = self._opened(request)
        return None if session is None or await self._out(session) else session

    def check(self, request: gw.EndpointRequest, session: Session) -> None:
        """Raises `PermissionDeniedError` for a form that no page of ours has sent."""
        token = Form(request.body).text("token")
        if not own_site(request.arrival.headers) or not self.sealer.fits(session, token):
            raise gw.PermissionDeniedError(
                "This form does not come from a page of this session; go back, reload, and "
                "send it again."
            )

    def carrying(self, arrival: gw.Arrival, session: Session) -> gw.Arrival:
        """`arrival` as if it had come with the session's key, and without its cookie."""
        dropped = ("cookie", "authorization", "x-api-key")
        headers = {n: v for n, v in arrival.headers.items() if n.lower() not in dropped}
        headers["authorization"] = f"Bearer {session.key}"
        return msgspec.structs.replace(arrival, headers=headers)

    def admits(self, principal: gw.Principal) -> None:
        if principal.key_id is None or principal.role == "user":
            raise gw.PermissionDeniedError(
                "This key may not see the dashboard: it needs the role operator or admin."
            )

    def turned_away(
        self, request: gw.EndpointRequest, path: str, *, ended: bool = False
    ) -> gw.EndpointResponse:
        """To the form; a part of a page that asks has its whole page sent there."""
        headers = request.arrival.headers
        had = ended or cookie(headers, COOKIE) != ""
        if not had and headers.get("sec-fetch-site") == "cross-site":
            # A strict cookie does not come along with a link from elsewhere; from here it does.
            return page(200, self._parts.templates.get_template("onward.html").render(visit=None))
        where = "login?ended=1" if had and path != "logout" else "login"
        if POLLS in headers or path.endswith(".json"):
            return page(401, "", {"hx-redirect": f"{ROOT}/{where}"})
        return redirect(where, self._cookie(request, "", 0) if ended else None)

    def renewed(self, request: gw.EndpointRequest, session: Session) -> dict[str, str]:
        """The cookie anew, now and then, where its owner has done something."""
        now = int(time())
        if POLLS in request.arrival.headers or request.arrival.path.endswith(".json"):
            return {}
        if now - session.seen < self._idle * TURN:
            return {}
        return self._kept(request, msgspec.structs.replace(session, seen=now))

    # --- cookies and counts --------------------------------------------------------------

    def _opened(self, request: gw.EndpointRequest) -> Session | None:
        """The cookie's session, while it lasts."""
        session = self.sealer.open(cookie(request.arrival.headers, COOKIE))
        now = time()
        if session is None or session.key is None:
            return None
        fits = now - session.seen < self._idle and now - session.began < self._whole
        return session if fits else None

    def _form_session(self, request: gw.EndpointRequest) -> Session | None:
        session = self.sealer.open(cookie(request.arrival.headers, FORM_COOKIE))
        fits = session is not None and time() - session.began < FORM_SECONDS
        return session if fits else None

    async def _out(self, session: Session) -> bool:
        for state in (self._state, self._local):
            if state is None:
                continue
            try:
                if (await state.used([_out_key(session)]))[0]:
                    return True
            except Exception:
                continue
        return False

    async def _waiting(self, peer: str) -> int | None:
        """Seconds until this address may try again; None for now."""
        many = self._settings.login_attempts_per_minute
        take = gw.Take(f"dashboard:login:{peer}", 1, many, "bucket", rate=many / 60)
        for state in (self._state, self._local):
            if state is None:
                continue
            try:
                answer = await state.take([take])
            except Exception:
                continue
            return max(1, round(answer.retry_after)) if isinstance(answer, gw.Denial) else None
        raise gw.GatewayError(
            "Logins are counted in shared state, and there is none: "
            "pip install llm-gateway-state-host.",
            status=503,
            code="no_state",
        )

    def _kept(self, request: gw.EndpointRequest, session: Session) -> dict[str, str]:
        left = self._whole - (int(time()) - session.began)
        return self._cookie(request, self.sealer.seal(session), max(0, left))

    def _cookie(
        self, request: gw.EndpointRequest, value: str, seconds: int, name: str = COOKIE
    ) -> dict[str, str]:
        plain = self._settings.insecure_cookie or on_loopback(request.arrival.headers)
        return {"set-cookie": set_cookie(name, value, seconds, secure=not plain)}

    def _form(
        self,
        request: gw.EndpointRequest,
        problem: str,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> gw.EndpointResponse:
        session = self._form_session(request) or fresh(time())
        text = self._parts.templates.get_template("login.html").render(
            token=self.sealer.token(session), problem=problem, visit=None
        )
        kept = self._cookie(request, self.sealer.seal(session), FORM_SECONDS, FORM_COOKIE)
        return page(status, text, {**kept, **(headers or {})})

    def _lost(self, request: gw.EndpointRequest) -> str:
        """Why a form came without its session."""
        if on_loopback(request.arrival.headers) or self._settings.insecure_cookie:
            return "Your browser sent no session with this form; allow cookies and try again."
        return (
            "Your browser sent no session with this form. Over plain HTTP it keeps none: use "
            "https, or http://localhost, and try again."
        )


def _out_key(session: Session) -> str:
    return f"dashboard:out:{session.id}"
