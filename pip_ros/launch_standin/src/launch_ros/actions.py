"""Actions that know of nodes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from launch._entities import (
    Action,
    LaunchContext,
    SomeSubstitutionsType,
    as_substitutions,
    perform_all,
)
from launch._errors import LaunchError, missing_names
from launch._process import ProcessSpec
from launch.event_handlers import OnExit
from launch_ros._packages import package_executable
from launch_ros._parameters import evaluate_parameters, write_parameter_file

__getattr__ = missing_names("launch_ros.actions")

Parameters = Iterable[SomeSubstitutionsType | Mapping[object, object]]

# What goes where, for standard output and standard error, by the value of output=.
_OUTPUTS = {
    "screen": (frozenset({"screen"}), frozenset({"screen"})),
    "log": (frozenset({"log"}), frozenset({"log", "screen"})),
    "both": (frozenset({"log", "screen"}), frozenset({"log", "screen"})),
}
_NAMESPACE = "ros_namespace"  # the launch configuration in which launch_ros keeps it


def _joined_namespace(base: str | None, name: str) -> str:
    """Return ``name`` under ``base``; an absolute name stands for itself."""
    if not base or name.startswith("/"):
        joined = name
    else:
        joined = f"{base.rstrip('/')}/{name}" if name else base
    return joined.rstrip("/") if joined != "/" else joined


class PushRosNamespace(Action):
    """Put all nodes that follow in the group under a namespace."""

    def __init__(self, namespace: SomeSubstitutionsType, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.namespace = as_substitutions(namespace)

    def execute(self, context: LaunchContext) -> None:
        values = context.launch_configurations
        joined = _joined_namespace(values.get(_NAMESPACE), perform_all(context, self.namespace))
        values[_NAMESPACE] = joined if joined.startswith("/") else f"/{joined}"


class Node(Action):
    """Start one node.

    Args:
        executable: File name in ``lib/PACKAGE``, or a path where no package is given.
        package: The package that installs it.
        name: Node name; None leaves the node its own.
        namespace: Below the pushed namespace unless it starts with a slash.
        parameters: Files and dictionaries, in order: the later wins.
        remappings: Pairs of names.
        arguments: Further command-line arguments, before the ROS ones.
        output: "screen", "log" or "both".
        on_exit: Entities, or a function of (event, context), once the process has ended.
        additional_env: Variables for this process alone.
        sigterm_timeout: Seconds from SIGINT to SIGTERM; default the argument of the same name, 5.
        sigkill_timeout: Seconds from SIGTERM to SIGKILL; likewise.
    """

    def __init__(
        self,
        *,
        executable: SomeSubstitutionsType,
        package: SomeSubstitutionsType | None = None,
        name: SomeSubstitutionsType | None = None,
        namespace: SomeSubstitutionsType | None = None,
        parameters: Parameters | None = None,
        remappings: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]] | None = None,
        arguments: Iterable[SomeSubstitutionsType] | None = None,
        output: SomeSubstitutionsType = "log",
        on_exit: OnExit = None,
        respawn: bool = False,
        additional_env: Mapping[str, SomeSubstitutionsType] | None = None,
        sigterm_timeout: SomeSubstitutionsType | None = None,
        sigkill_timeout: SomeSubstitutionsType | None = None,
        **kwargs: object,
    ) -> None:
        # respawn=False is what happens anyway; anything else is refused as a keyword.
        super().__init__(**kwargs, **({"respawn": respawn} if respawn is not False else {}))
        self.executable = as_substitutions(executable)
        self.package = None if package is None else as_substitutions(package)
        self.name = None if name is None else as_substitutions(name)
        self.namespace = as_substitutions(namespace or "")
        self.parameters = list(parameters or [])
        self.remappings = [(as_substitutions(a), as_substitutions(b)) for a, b in remappings or []]
        self.arguments = [as_substitutions(item) for item in arguments or []]
        self.output = as_substitutions(output)
        self.on_exit = on_exit
        self.additional_env = dict(additional_env or {})
        self.timeouts = (sigterm_timeout, sigkill_timeout)

    def execute(self, context: LaunchContext) -> None:
        output = perform_all(context, self.output)
        if output not in _OUTPUTS:
            raise LaunchError(
                f"a node of the launch file has output={output!r}: use {', '.join(_OUTPUTS)}"
            )
        stdout_to, stderr_to = _OUTPUTS[output]
        # Python would otherwise keep what a node prints until its buffer is full.
        env = {"PYTHONUNBUFFERED": "1", **context.environment}
        for name, value in self.additional_env.items():
            env[name] = perform_all(context, as_substitutions(value))
        spec = ProcessSpec(
            action=self,
            cmd=self._command(context),
            env=env,
            stdout_to=stdout_to,
            stderr_to=stderr_to,
            sigterm_timeout_s=_timeout_s(context, "sigterm_timeout", self.timeouts[0]),
            sigkill_timeout_s=_timeout_s(context, "sigkill_timeout", self.timeouts[1]),
        )
        context.runtime.start(spec, self.on_exit)

    def _command(self, context: LaunchContext) -> list[str]:
        executable = perform_all(context, self.executable)
        if self.package is not None:
            executable = str(package_executable(perform_all(context, self.package), executable))
        command = [executable, *(perform_all(context, item) for item in self.arguments)]
        command.append("--ros-args")
        name = None if self.name is None else perform_all(context, self.name)
        namespace = _joined_namespace(
            context.launch_configurations.get(_NAMESPACE), perform_all(context, self.namespace)
        )
        if namespace and not namespace.startswith("/"):
            namespace = f"/{namespace}"
        if name is not None:
            command += ["-r", f"__node:={name}"]
        if namespace:
            command += ["-r", f"__ns:={namespace}"]
        # A full name where the launch file gives one, as the real package writes it.
        key = f"{namespace.rstrip('/')}/{name}" if name is not None and namespace else "/**"
        for path in self._parameter_files(context, key):
            command += ["--params-file", path]
        for source, target in self.remappings:
            command += ["-r", f"{perform_all(context, source)}:={perform_all(context, target)}"]
        return command

    def _parameter_files(self, context: LaunchContext, key: str) -> Iterable[str]:
        for item in self.parameters:
            if isinstance(item, Mapping):
                values = evaluate_parameters(item, context)
                if values:
                    directory = context.runtime.parameter_directory
                    yield str(write_parameter_file(directory, values, key))
                continue
            path = perform_all(context, as_substitutions(item))
            if not os.path.isfile(path):
                raise LaunchError(
                    f"the parameter file {path} does not exist: check its name, or install the "
                    "package again"
                )
            yield path


def _timeout_s(context: LaunchContext, name: str, value: SomeSubstitutionsType | None) -> float:
    if value is None:
        text = context.launch_configurations.get(name, "5")
    else:
        text = perform_all(context, as_substitutions(value))
    try:
        return float(text)
    except ValueError:
        raise LaunchError(f"{name} is {text!r}: give seconds as a number") from None
