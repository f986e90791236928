"""The settings under ``routing.fallbacks``."""

from pydantic import ConfigDict, RootModel, model_validator


class FallbackSettings(RootModel[dict[str, tuple[str, ...]]]):
    """Settings under ``routing.fallbacks``: for a name, who steps in, in order."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    root: dict[str, tuple[str, ...]] = {}

    @model_validator(mode="after")
    def _names_others(self) -> "FallbackSettings":
        for name, chain in self.root.items():
            if name in chain:
                raise ValueError(f"{name!r} falls back to itself; remove it from its own list")
        return self
