"""What routing knows of the providers, taken from them when a configuration is bound."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llm_gateway_api import DirectProvider, ModelInfo, Provider, Target


@dataclass(frozen=True, slots=True)
class Instance:
    """What routing knows of a provider instance; `bases` are the vendor's names of models that
    go by names of the operator's own."""

    name: str
    models: tuple[ModelInfo, ...]
    default_model: str | None
    region: str | None
    weight: float
    bases: Mapping[str, str]

    def target(
        self,
        model: str,
        weight: float,
        region: str | None = None,
        tags: frozenset[str] = frozenset(),
        known: bool = True,
    ) -> Target:
        base = self.bases.get(model)
        return Target(self.name, model, weight, region or self.region, tags, known, base)


Learned = Callable[[str, ModelInfo], ModelInfo]


def instance(
    name: str, provider: Provider | DirectProvider, settings: object, learned: Learned
) -> Instance:
    """`learned` adds what the catalogues know to what the provider itself says of a model."""
    models = tuple(learned(name, each) for each in provider.models())
    return Instance(
        name,
        models,
        getattr(settings, "default_model", None),
        getattr(settings, "region", None),
        getattr(settings, "weight", 1.0),
        {each.id: each.base for each in models if each.base is not None},
    )
