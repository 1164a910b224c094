"""Cell: a net, or a part of one, as a tree of parameters with names.

Parameters get the names that MindSpore gives them, because the names must match its files
(mindspore/nn/cell.py, Cell.__setattr__ and Cell.update_parameters_name). A parameter without a name takes that of
the attribute. Assigning a cell renames every parameter inside to the attribute's name, a dot and the parameter's
*path*, whatever its name was.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from ckptload.errors import ArgumentError, ArgumentNameError, ArgumentTypeError, MissingAttributeError
from ckptload.foreign.classes import MINDSPORE, is_a
from ckptload.messages import shown_value, type_name
from ckptload.nets.states import Stateful
from ckptload.tensors.parameter import AUTOMATIC_PREFIX, Parameter, ParameterTuple, as_ours
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, ValuesView

_PREFIX: Final = re.compile(r"^\w*[0-9a-zA-Z_.\-]*$", re.ASCII)


class Cell(Stateful):
    """A net or a part of one: parameters and child cells, registered by assigning them to attributes.

    A subclass calls ``super().__init__()`` and assigns its parameters and children. A cell holds weights; it does not
    compute.

    Args:
        auto_prefix: whether the parameters of a child get the attribute's name as a prefix.
        flags: attributes to set.
    """

    _params: OrderedDict[str, Parameter | None]
    _cells: OrderedDict[str, Cell | None]

    def __init__(self, auto_prefix: bool = True, flags: dict[str, Any] | None = None) -> None:
        self.__dict__.update(
            _params=OrderedDict(),
            _cells=OrderedDict(),
            _auto_prefix=auto_prefix,
            _numbered=0,
            _listed={},
            training=False,
            requires_grad=False,
        )
        self.__dict__.update(flags or {})

    # -- attributes -------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if is_a(value, MINDSPORE, "Parameter"):
            value = as_ours(value)
        if isinstance(value, Parameter):
            self.__dict__.pop(name, None)
            self.insert_param_to_cell(name, value)
        elif isinstance(value, Cell):
            self._adopt_cell(name, value)
        elif is_a(value, MINDSPORE, "Cell"):
            raise ArgumentTypeError(
                f"{name!r} cannot be a {type_name(value)}: its parameters would not be those of this cell",
                hint="derive the network from mindspore.nn.Cell; ckptload loads into it, too",
            )
        elif isinstance(value, ParameterTuple):
            self._adopt_tuple(name, value)
        elif isinstance(value, (list, tuple)) and value and all(isinstance(item, Parameter) for item in value):
            self._list_parameters(name, value)
        elif name in self.__dict__.get("_params", ()):
            self._replace_parameter(name, value)
        elif name in self.__dict__.get("_cells", ()):
            if value is not None:
                raise ArgumentTypeError(f"{name!r} is a child cell and cannot become {type_name(value)}")
            self._cells[name] = None
        else:
            object.__setattr__(self, name, value)

    def _adopt_cell(self, name: str, cell: Cell) -> None:
        self._begun()
        self.__dict__.pop(name, None)
        if self.__dict__["_auto_prefix"]:
            cell.update_parameters_name(f"{name}.")
        self.insert_child_to_cell(name, cell)

    def _adopt_tuple(self, name: str, parameters: ParameterTuple) -> None:
        """Register each parameter under its own name; unnamed ones are numbered."""
        self._begun()
        known: dict[str, Parameter] = {}
        for parameter in dict.fromkeys(parameters):
            if parameter.name.startswith(AUTOMATIC_PREFIX):
                self.__dict__["_numbered"] += 1
                parameter.name = f"Parameter${self.__dict__['_numbered']}"
            _unique(known, parameter)
            self.insert_param_to_cell(parameter.name, parameter, check_name_contain_dot=False)
        object.__setattr__(self, name, parameters)

    def _list_parameters(self, name: str, parameters: list[Parameter] | tuple[Parameter, ...]) -> None:
        """Store a plain list: its parameters do not belong to the cell, but their names must differ."""
        self._begun()
        for parameter in parameters:
            _unique(self.__dict__["_listed"], parameter)
        object.__setattr__(self, name, parameters)

    def _replace_parameter(self, name: str, value: Any) -> None:
        parameter = self._params[name]
        if value is None:
            self._params[name] = None
        elif isinstance(value, Tensor) and parameter is not None:
            parameter.set_data(value)
        else:
            raise ArgumentTypeError(
                f"{name!r} is a parameter and cannot become {type_name(value)}",
                hint="assign a Parameter, a Tensor with new values, or None",
            )

    def _begun(self) -> None:
        if "_params" not in self.__dict__:
            raise MissingAttributeError(
                f"{type_name(self)} has not been initialised", hint="call super().__init__() before assigning"
            )

    def __getattr__(self, name: str) -> Any:
        for table in ("_params", "_cells"):
            members = self.__dict__.get(table, {})
            if name in members:
                return members[name]
        raise MissingAttributeError(f"the {type_name(self)} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for table in ("_params", "_cells"):
            if name in self.__dict__.get(table, ()):
                del self.__dict__[table][name]
                return
        try:
            object.__delattr__(self, name)
        except AttributeError as error:
            raise MissingAttributeError(f"the {type_name(self)} object has no attribute {name!r}") from error

    def __bool__(self) -> bool:
        return True

    # -- building ---------------------------------------------------------------------------------

    def insert_param_to_cell(
        self, param_name: str, param: Parameter | None, check_name_contain_dot: bool = True
    ) -> None:
        """Register a parameter under an attribute's name, which an unnamed parameter takes.

        Args:
            param_name: name of the attribute.
            param: the parameter; None registers the attribute without a parameter.
            check_name_contain_dot: whether to refuse a dot in ``param_name``.

        Raises:
            ArgumentNameError: the name is empty, has a dot, or belongs to another attribute.
            ArgumentTypeError: ``param`` is neither a Parameter nor None.
        """
        if not param_name:
            raise ArgumentNameError("a parameter's attribute needs a name")
        if check_name_contain_dot and "." in param_name:
            raise ArgumentNameError(f"the attribute's name {param_name!r} has a dot in it")
        self._begun()
        if param_name not in self._params and hasattr(self, param_name):
            raise ArgumentNameError(f"{type(self).__name__} already has an attribute {param_name!r}")
        if param is not None and not isinstance(param, Parameter):
            raise ArgumentTypeError(f"{param_name!r} must be a Parameter, not {type_name(param)}")
        if param is not None and param.name.startswith(AUTOMATIC_PREFIX):
            param.name = param_name
        self._params[param_name] = param

    def insert_child_to_cell(self, child_name: str, child_cell: Cell | None) -> None:
        """Register a child cell under an attribute's name; its parameters keep their names.

        Args:
            child_name: name of the attribute.
            child_cell: the child; None registers the attribute without a child.

        Raises:
            ArgumentNameError: the name is empty, has a dot, or belongs to another attribute.
            ArgumentTypeError: the name is not a str, or ``child_cell`` is neither a Cell nor None.
        """
        if not isinstance(child_name, str):
            raise ArgumentTypeError(f"a child's name must be a str, not {type_name(child_name)}")
        if not child_name or "." in child_name:
            raise ArgumentNameError(f"{child_name!r} cannot name a child: a name is not empty and has no dot")
        self._begun()
        if child_name not in self._cells and hasattr(self, child_name):
            raise ArgumentNameError(f"{type(self).__name__} already has an attribute {child_name!r}")
        if child_cell is not None and not isinstance(child_cell, Cell):
            raise ArgumentTypeError(f"{child_name!r} must be a Cell, not {type_name(child_cell)}")
        self._cells[child_name] = child_cell

    # -- walking ----------------------------------------------------------------------------------

    def cells_and_names(self, cells: set[Cell] | None = None, name_prefix: str = "") -> Iterator[tuple[str, Cell]]:
        """Iterate over paths and cells: this cell, then its children depth first, each once.

        Args:
            cells: cells to skip; the cells that are returned are added to it.
            name_prefix: path of this cell.
        """
        met = cells or set()
        if self in met:
            return
        met.add(self)
        yield name_prefix, self
        for name, cell in self._cells.items():
            # An empty list of cells is false and is skipped, as in mindspore/nn/cell.py, Cell.cells_and_names.
            if cell:
                yield from cell.cells_and_names(met, f"{name_prefix}.{name}" if name_prefix else name)

    def parameters_and_names(self, name_prefix: str = "", expand: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Iterate over attribute paths and parameters: the cell's own, then its children's, each once.

        The path can differ from the parameter's ``name``.

        Args:
            name_prefix: path of this cell.
            expand: whether to enter child cells.
        """
        met: set[int] = set()
        walk = self.cells_and_names(name_prefix=name_prefix) if expand else iter([(name_prefix, self)])
        for path, cell in walk:
            for name, parameter in cell.__dict__["_params"].items():
                if parameter is not None and id(parameter) not in met:
                    met.add(id(parameter))
                    yield f"{path}.{name}" if path else name, parameter

    def get_parameters(self, expand: bool = True) -> Iterator[Parameter]:
        """Iterate over the parameters, each once; see `parameters_and_names`."""
        for _, parameter in self.parameters_and_names(expand=expand):
            yield parameter

    def trainable_params(self, recurse: bool = True) -> list[Parameter]:
        """List the parameters whose ``requires_grad`` is True."""
        return [parameter for parameter in self.get_parameters(recurse) if parameter.requires_grad]

    def untrainable_params(self, recurse: bool = True) -> list[Parameter]:
        """List the parameters whose ``requires_grad`` is False."""
        return [parameter for parameter in self.get_parameters(recurse) if not parameter.requires_grad]

    def parameters_dict(self, recurse: bool = True) -> OrderedDict[str, Parameter]:
        """Return a dictionary of names and parameters; of two with the same name, it has the later one."""
        return OrderedDict((parameter.name, parameter) for parameter in self.get_parameters(recurse))

    def parameters_broadcast_dict(self, recurse: bool = True) -> OrderedDict[str, Parameter] | None:
        """Return a dictionary of names and parameters that devices share, or None if there are none."""
        shared = OrderedDict((p.name, p) for p in self.get_parameters(recurse) if not p.layerwise_parallel)
        return shared or None

    def name_cells(self) -> OrderedDict[str, Cell]:
        """Return a dictionary of attributes and child cells, each child once."""
        children: OrderedDict[str, Cell] = OrderedDict()
        met: set[Cell] = set()
        for name, cell in self._cells.items():
            if cell is not None and cell not in met:
                met.add(cell)
                children[name] = cell
        return children

    def cells(self) -> ValuesView[Cell]:
        """Return the child cells, each once."""
        return self.name_cells().values()

    # -- names ------------------------------------------------------------------------------------

    def update_parameters_name(self, prefix: str = "", recurse: bool = True) -> None:
        """Rename every parameter to ``prefix`` followed by its path.

        Args:
            prefix: letters, digits, underscores, dots and hyphens; usually with a dot at the end.
            recurse: whether to enter child cells.

        Raises:
            ArgumentError: the prefix has other characters.
        """
        if not isinstance(prefix, str):
            raise ArgumentTypeError(f"prefix must be a str, not {type_name(prefix)}")
        if _PREFIX.match(prefix) is None:
            raise ArgumentError(
                f"{shown_value(prefix)} cannot be a prefix", hint="use letters, digits, underscores, dots and hyphens"
            )
        for path, parameter in self.parameters_and_names(expand=recurse):
            parameter.name = prefix + path

    def check_names(self) -> None:
        """Check that no two parameters have the same name.

        Raises:
            ArgumentError: two have; the message gives the path of the second one.
        """
        names: set[str] = set()
        for path, parameter in self.parameters_and_names():
            if parameter.name in names:
                raise ArgumentError(
                    f"the parameter at {path} has the same name as another one",
                    name=parameter.name,
                    hint="give each parameter a name of its own, or call update_parameters_name()",
                )
            names.add(parameter.name)

    def check_names_and_refresh_name(self) -> None:
        """Rename every parameter to its path if two have the same name."""
        names = [parameter.name for parameter in self.get_parameters()]
        if len(set(names)) < len(names):
            self.update_parameters_name()
            self.check_names()

    # -- modes ------------------------------------------------------------------------------------

    def set_train(self, mode: bool = True) -> Cell:
        """Set ``training`` in this cell and all cells below it, and return this cell."""
        self.__dict__["training"] = mode
        for cell in self.cells():
            cell.set_train(mode)
        return self

    def set_grad(self, requires_grad: bool = True) -> Cell:
        """Set ``requires_grad`` of this cell, and return it."""
        self.requires_grad = requires_grad
        return self

    # -- printing ---------------------------------------------------------------------------------

    def __repr__(self) -> str:
        children = [f"\n  ({name}): " + repr(cell).replace("\n", "\n  ") for name, cell in self._cells.items()]
        return f"{type(self).__name__}({''.join(children)}{chr(10) if children else ''})"


def _unique(known: dict[str, Parameter], parameter: Parameter) -> None:
    if known.setdefault(parameter.name, parameter) is not parameter:
        raise ArgumentError(
            "two parameters have this name", name=parameter.name, hint="give each parameter a name of its own"
        )
