"""What is wrong with a workflow class is said when it is declared, all of it at once."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.common import RawValue
from hotmesh.engine.definition import WorkflowDefinition
from support.running import at_module_level


class Parts:
    """Methods that tests declare one by one."""

    async def nothing(self) -> None: ...
    async def name_only(self, name: str) -> None: ...
    async def three(self, one: str, two: str, three: str) -> None: ...
    async def raw(self, name: str, args: Sequence[RawValue]) -> None: ...
    async def unannotated(self, name, args) -> None: ...
    def raw_query(self, name: str, args: Sequence[RawValue]) -> None: ...
    def old(self, name: str, *args: Any) -> None: ...


KINDS = [workflow.signal, workflow.query, workflow.update]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", [Parts.nothing, Parts.name_only, Parts.three, Parts.unannotated])
def test_a_dynamic_handler_takes_a_name_and_raw_values(
    kind: Callable[..., Any], method: Callable[..., Any]
) -> None:
    with pytest.raises(RuntimeError, match=r"Sequence\[RawValue\]"):
        kind(dynamic=True)(method)


@pytest.mark.parametrize("kind", KINDS)
def test_its_old_form_is_deprecated(kind: Callable[..., Any]) -> None:
    with pytest.warns(DeprecationWarning, match=r"use Sequence\[RawValue\]"):
        kind(dynamic=True)(Parts.old)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dynamic_handler_has_no_name(kind: Callable[..., Any]) -> None:
    with pytest.raises(RuntimeError, match="name and dynamic"):
        kind(name="x", dynamic=True)(Parts.raw)


def test_a_run_method_of_a_local_class_is_refused() -> None:
    with pytest.raises(ValueError, match="Local classes unsupported"):

        @workflow.defn
        class Inner:
            @workflow.run
            async def run(self) -> None: ...


class Base:
    """Declares a handler of each kind, for subclasses to override."""

    @workflow.run
    async def run(self) -> None: ...

    @workflow.signal
    def poke(self) -> None: ...

    @workflow.query
    def look(self) -> None: ...

    @workflow.update
    def change(self) -> None: ...


def test_everything_wrong_is_named_at_once() -> None:
    with pytest.raises(ValueError, match="for 5 reasons") as refused:

        @workflow.defn
        class Many(Base):
            async def run(self) -> None: ...

            def poke(self) -> None: ...

            @workflow.signal(name="same")
            def one(self) -> None: ...

            @workflow.signal(name="same")
            def two(self) -> None: ...

            @workflow.update
            def adjust(self, by: int) -> None: ...

            @adjust.validator
            def check(self, by: str) -> None: ...

            @workflow.dynamic_config
            def configure(self) -> workflow.DynamicWorkflowConfig:
                return workflow.DynamicWorkflowConfig()

    for reason in (
        "@workflow.run defined on Base.run but not on the override",
        "multiple signal methods found for same",
        "@workflow.signal defined on Base.poke but not on the override",
        "validator check parameters do not match those of update method adjust",
        "@workflow.dynamic_config on a workflow that is not dynamic",
    ):
        assert reason in str(refused.value)


def test_init_takes_what_run_takes() -> None:
    with pytest.raises(ValueError, match=r"@workflow.init and @workflow.run"):

        @workflow.defn
        class Differs:
            @workflow.init
            def __init__(self, one: int) -> None: ...

            @workflow.run
            @at_module_level
            async def run(self, one: str) -> None: ...


def test_a_class_is_declared_once() -> None:
    class Once:
        @workflow.run
        @at_module_level
        async def run(self) -> None: ...

    workflow.defn(Once)
    with pytest.raises(ValueError, match="already contains"):
        workflow.defn(Once)


def test_names_of_parameters_may_differ() -> None:
    @workflow.defn
    class Fine:
        @workflow.init
        def __init__(self, one: int = 1) -> None: ...

        @workflow.run
        @at_module_level
        async def run(self, other: int = 1) -> None: ...

        @workflow.update
        def up(self, one: int) -> None: ...

        @up.validator
        def check(self, other: int) -> None: ...

    assert workflow.defn is not None
    assert Fine.run is not None


def test_run_is_a_coroutine_function() -> None:
    with pytest.raises(ValueError, match="must be an async function"):
        workflow.run(Parts.old)


def test_init_is_init() -> None:
    with pytest.raises(ValueError, match="only be used on the __init__ method"):
        workflow.init(Parts.nothing)


def test_a_dynamic_config_is_synchronous_and_takes_nothing() -> None:
    with pytest.raises(ValueError, match="must be synchronous"):
        workflow.dynamic_config(Parts.nothing)
    with pytest.raises(ValueError, match="only take self"):
        workflow.dynamic_config(Parts.raw_query)


def test_a_validator_is_synchronous() -> None:
    class Has:
        @workflow.update
        def up(self) -> None: ...

    with pytest.raises(RuntimeError, match="must not be async"):
        Has.up.validator(Parts.nothing)


def test_a_workflow_is_either_dynamic_or_named() -> None:
    class Both:
        @workflow.run
        @at_module_level
        async def run(self) -> None: ...

    with pytest.raises(ValueError, match="name and dynamic"):
        workflow.defn(name="x", dynamic=True)(Both)


def test_a_workflow_without_run_is_none() -> None:
    class Empty:
        """Nothing in it."""

    with pytest.raises(ValueError, match=r"Empty: missing @workflow\.run method"):
        workflow.defn(Empty)


def test_two_run_methods_and_two_configs_are_named() -> None:
    class Two:
        @workflow.run
        @at_module_level
        async def one(self) -> None: ...

        @workflow.run
        @at_module_level
        async def two(self) -> None: ...

        @workflow.dynamic_config
        def a(self) -> workflow.DynamicWorkflowConfig:
            return workflow.DynamicWorkflowConfig()

        @workflow.dynamic_config
        def b(self) -> workflow.DynamicWorkflowConfig:
            return workflow.DynamicWorkflowConfig()

    with pytest.raises(
        ValueError, match=r"multiple @workflow\.run methods.*one and two"
    ) as refused:
        workflow.defn(dynamic=True)(Two)
    assert "multiple @workflow.dynamic_config methods found" in str(refused.value)


def test_handlers_are_found_by_the_names_they_are_given() -> None:
    class Named:
        @workflow.run
        @at_module_level
        async def run(self) -> None: ...

        @workflow.signal(name="s")
        def one(self) -> None: ...

        @workflow.query(name="q")
        def two(self) -> int:
            return 1

        @workflow.update(name="u", description="what for")
        def three(self) -> None: ...

    workflow.defn(name="T")(Named)
    definition = WorkflowDefinition.of(Named)
    assert definition is not None
    assert WorkflowDefinition.of(Named.run) is definition
    assert (definition.name, definition.arity) == ("T", (0, 0))
    assert (list(definition.signals), list(definition.queries)) == (["s"], ["q"])
    assert definition.queries["q"].ret_type is int
    assert definition.updates["u"].description == "what for"
