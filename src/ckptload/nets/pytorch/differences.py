"""Where a torch module may compute something else than the MindSpore net that its weights come from.

A checkpoint has no settings of layers: how they pad, their eps, which GELU they are. What is told here follows from
the module alone: a layer is named if ``mindspore.nn`` has a layer of the same weights and of another result, by its
defaults or by ``pad_mode="same"``, and of the same shape, so that no error shows it. A pool with ``ceil_mode`` gives
another shape, which a mean over all places hides. Each of these was seen to differ,
and to be equal with the edit, in MindSpore 2.10.0 on the CPU (tests/differential/test_differences.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from torch import nn

from ckptload.nets.pytorch.difference import LayerDifference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: MindSpore's defaults (2.10.0, nn/layer/normalization.py, nn/layer/activation.py).
_LAYER_NORM: Final = 1e-7
_NORM: Final = 1e-5
_SLOPE: Final = 0.2
#: nn.LRN(depth_radius=5, bias=1, alpha=1, beta=0.5) in torch's terms: torch divides alpha by the size.
_LRN: Final = {"size": 11, "alpha": 11.0, "beta": 0.5, "k": 1.0}
#: Layers whose norms have torch's eps in MindSpore, too (nn/layer/transformer.py).
_WITH_NORMS: Final = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
_EPS_OF_THEIRS: Final = 1e-5
_BY_TANH: Final = "it is exact; MindSpore's default is the approximation by tanh"
#: Layers of timm and transformers: their packages, and their names.
_EXACT: Final = frozenset({("timm", "GELU"), ("transformers", "GELUActivation")})

_CONVOLUTIONS: Final = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
_TRANSPOSED: Final = {nn.ConvTranspose1d: 1, nn.ConvTranspose2d: 2, nn.ConvTranspose3d: 3}
_MAX_POOLS: Final = {nn.MaxPool1d: 1, nn.MaxPool2d: 2, nn.MaxPool3d: 3}
_AVERAGE_POOLS: Final = {nn.AvgPool1d: 1, nn.AvgPool2d: 2, nn.AvgPool3d: 3}
#: MindSpore's AvgPool3d alone counts what pad_mode="same" adds.
_COUNTS_PADDING: Final = 3


class _Found(NamedTuple):
    """What is said of one layer."""

    kind: str
    reason: str
    edit: str


class _Axis(NamedTuple):
    """How a window moves along an axis: its extent with dilation, its stride, and the padding at both ends."""

    window: int
    stride: int
    padding: int

    @property
    def same(self) -> tuple[int, int]:
        """Return what ``pad_mode="same"`` pads before and after, if the input's size is a multiple of the stride."""
        total = max(self.window - self.stride, 0)
        return total // 2, total - total // 2

    @property
    def is_alike(self) -> bool:
        """Tell whether the output has the size that ``pad_mode="same"`` gives, for such an input."""
        return sum(self.same) <= 2 * self.padding < self.window

    @property
    def differs(self) -> bool:
        """Tell whether it is padded in another way and has the same size."""
        return self.is_alike and sum(self.same) != 2 * self.padding

    @property
    def is_rounded(self) -> bool:
        """Tell whether the last window of a pool ends behind such an input, so that ``ceil_mode`` counts."""
        return (2 * self.padding - self.window) % self.stride != 0

    @property
    def edited(self) -> tuple[int, int]:
        """Return what is to be padded before and after."""
        return self.same if self.differs else (self.padding, self.padding)


def differences(module: nn.Module) -> tuple[LayerDifference, ...]:
    """Return the kinds of layers of a module that may differ, in the module's order."""
    kinds: dict[str, tuple[str, dict[str, list[str]]]] = {}
    known: set[int] = set()
    for path, layer in module.named_modules():
        if isinstance(layer, _WITH_NORMS):
            known.update(id(child) for child in layer.children() if getattr(child, "eps", None) == _EPS_OF_THEIRS)
        found = None if id(layer) in known else _found(layer)
        if found is not None:
            _, edits = kinds.setdefault(found.kind, (found.reason, {}))
            edits.setdefault(found.edit, []).append(path)
    return tuple(
        LayerDifference(kind, reason, {edit: tuple(paths) for edit, paths in edits.items()})
        for kind, (reason, edits) in kinds.items()
    )


def _found(layer: nn.Module) -> _Found | None:
    """Return what is said of a layer; None if it cannot differ, or its settings are not those of its kind."""
    for kinds, tell in _RULES:
        for kind in kinds:
            if isinstance(layer, kind):
                return tell(layer, kind.__name__)
    if _is_exact_gelu(layer):
        return _Found(type(layer).__name__, _BY_TANH, "layer.forward = nn.GELU(approximate='tanh').forward")
    return None


def _axes(layer: Any, dimensions: int) -> list[_Axis] | None:
    """Return how a window moves along each axis; None if the layer does not say it by integers."""
    columns = []
    for name in ("kernel_size", "stride", "padding", "dilation"):
        given = getattr(layer, name, 1 if name == "dilation" else None)
        several = tuple(given) if isinstance(given, (tuple, list)) else (given,) * dimensions
        if len(several) == 1:
            several *= dimensions
        least = 0 if name == "padding" else 1
        if len(several) != dimensions or not all(isinstance(one, int) and one >= least for one in several):
            return None
        columns.append(several)
    return [
        _Axis(dilation * (kernel - 1) + 1, stride, padding)
        for kernel, stride, padding, dilation in zip(*columns, strict=True)
    ]


def _pads(pairs: list[tuple[int, int]]) -> tuple[int, ...]:
    """Return what ``torch.nn.functional.pad`` takes: the last axis is the first."""
    return tuple(number for pair in reversed(pairs) for number in pair)


def _shown(pairs: Iterator[tuple[int, int]]) -> str:
    """Return the first pair, which stands for all: most windows are square."""
    before, after = next(pairs)
    return f"{before} before and {after} after"


def _padded(layer: str, axes: list[_Axis]) -> str:
    """Return the reason of a layer that pads in another way."""
    own = _shown((axis.padding, axis.padding) for axis in axes if axis.differs)
    same = _shown(axis.same for axis in axes if axis.differs)
    return f"with pad_mode='same' MindSpore's {layer} pads {same} each axis, and this one {own}"


def _before(axes: list[_Axis]) -> str:
    """Return the edit that pads before the layer."""
    pads = _pads([axis.edited for axis in axes])
    none = (0,) * len(axes)
    return (
        f"layer.padding = {none}; layer.register_forward_pre_hook("
        f"lambda _, given: (nn.functional.pad(given[0], {pads}),))"
    )


def _convolution(layer: Any, kind: str) -> _Found | None:
    axes = _axes(layer, _CONVOLUTIONS[getattr(nn, kind)])
    if axes is None or layer.padding_mode != "zeros" or not any(axis.differs for axis in axes):
        return None
    return _Found(kind, f"{_padded(kind, axes)} (the default of MindSpore's)", _before(axes))


def _transposed(layer: Any, kind: str) -> _Found | None:
    """Judge a transposed convolution: ``same`` cuts off what it pads in the other direction."""
    axes = _axes(layer, _TRANSPOSED[getattr(nn, kind)])
    more = getattr(layer, "output_padding", None)
    if axes is None or not isinstance(more, tuple) or len(more) != len(axes):
        return None
    own = [(axis.padding, axis.padding - extra) for axis, extra in zip(axes, more, strict=True)]
    if any(sum(axis.same) != sum(pair) for axis, pair in zip(axes, own, strict=True)):
        return None
    unlike = [(axis.same, pair) for axis, pair in zip(axes, own, strict=True) if axis.same != pair]
    if not unlike:
        return None
    pads = tuple(-number for number in _pads([axis.same for axis in axes]))
    none = (0,) * len(axes)
    return _Found(
        kind,
        f"with pad_mode='same' (the default of MindSpore's) {_shown(one for one, _ in unlike)} are cut off each axis, "
        f"and here {_shown(one for _, one in unlike)}",
        f"layer.padding = layer.output_padding = {none}; layer.register_forward_hook("
        f"lambda _, given, output: nn.functional.pad(output, {pads}))",
    )


def _max_pool(layer: Any, kind: str) -> _Found | None:
    axes = _axes(layer, _MAX_POOLS[getattr(nn, kind)])
    dilated = getattr(layer, "dilation", 1) not in {1, (1,), (1, 1), (1, 1, 1)}
    if axes is None or dilated:
        return None
    if layer.ceil_mode:
        return _rounded(axes, kind)
    return _Found(kind, _padded(kind, axes), _ceiled(axes)) if any(axis.differs for axis in axes) else None


def _average_pool(layer: Any, kind: str) -> _Found | None:
    dimensions = _AVERAGE_POOLS[getattr(nn, kind)]
    axes = _axes(layer, dimensions)
    if axes is not None and layer.ceil_mode:
        return _rounded(axes, kind)
    if axes is None or not any(axis.padding for axis in axes):
        return None
    if not all(axis.is_alike or not axis.padding for axis in axes):
        return None
    counts = dimensions == _COUNTS_PADDING
    reasons = [_padded(kind, axes)] if any(axis.differs for axis in axes) else []
    if layer.count_include_pad != counts:
        reasons.append(
            f"with pad_mode='same' the averages of MindSpore's {kind} {'count' if counts else 'leave out'} the padding"
        )
    if not reasons:
        return None
    edit = f"{_before(axes)}" if counts else f"{_ceiled(axes)}; layer.count_include_pad = False"
    return _Found(kind, ", and ".join(reasons), edit)


def _rounded(axes: list[_Axis], kind: str) -> _Found | None:
    """Return what is said of a pool whose last windows end behind the input, as in MindSpore they do only on demand."""
    if not any(axis.is_rounded for axis in axes):
        return None
    reason = f"ceil_mode is True; MindSpore's {kind} has that with pad_mode='same', and not by default"
    return _Found(kind, reason, "layer.ceil_mode = False")


def _ceiled(axes: list[_Axis]) -> str:
    """Return the edit of a pool: a last window that ends behind the input, where nothing is, is what ``same`` adds."""
    first = tuple(axis.edited[0] for axis in axes)
    shown: Any = first[0] if len(set(first)) == 1 else first
    is_longer = any(before < after for before, after in (axis.edited for axis in axes))
    return f"layer.padding, layer.ceil_mode = {shown}, {is_longer}"


def _eps(default: float) -> Callable[[Any, str], _Found | None]:
    def tell(layer: Any, kind: str) -> _Found | None:
        if not isinstance(layer.eps, float) or layer.eps == default:
            return None
        return _Found(kind, f"eps is {layer.eps:g}; MindSpore's default is {default:g}", f"layer.eps = {default:g}")

    return tell


def _gelu(layer: Any, kind: str) -> _Found | None:
    if layer.approximate != "none":
        return None
    return _Found(kind, _BY_TANH, "layer.approximate = 'tanh'")


def _is_exact_gelu(layer: nn.Module) -> bool:
    """Tell whether a layer is one of other libraries that computes the exact GELU and has no setting for it."""
    kind = type(layer)
    return (kind.__module__.partition(".")[0], kind.__qualname__) in _EXACT and "forward" not in vars(layer)


def _leaky(layer: Any, kind: str) -> _Found | None:
    if layer.negative_slope == _SLOPE:
        return None
    reason = f"the slope is {layer.negative_slope:g}; MindSpore's default is {_SLOPE:g}"
    return _Found(kind, reason, f"layer.negative_slope = {_SLOPE:g}")


def _response(layer: Any, kind: str) -> _Found | None:
    if all(getattr(layer, name) == value for name, value in _LRN.items()):
        return None
    edit = ", ".join(f"layer.{name}" for name in _LRN) + f" = {', '.join(map(str, _LRN.values()))}"
    return _Found(kind, "its settings are not the defaults of MindSpore's LRN", edit)


#: What tells whether a layer may differ, by its types; the first that fits is asked.
_RULES: Final[tuple[tuple[tuple[type[nn.Module], ...], Callable[[Any, str], _Found | None]], ...]] = (
    (tuple(_CONVOLUTIONS), _convolution),
    (tuple(_TRANSPOSED), _transposed),
    (tuple(_MAX_POOLS), _max_pool),
    (tuple(_AVERAGE_POOLS), _average_pool),
    ((nn.LayerNorm,), _eps(_LAYER_NORM)),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm), _eps(_NORM)),
    ((nn.GELU,), _gelu),
    ((nn.LeakyReLU,), _leaky),
    ((nn.LocalResponseNorm,), _response),
)
