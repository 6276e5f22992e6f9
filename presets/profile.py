"""Profiles: which servers, arms and judge to run. One YAML file each.

`${NAME}`, `${NAME:-default}` and `${NAME:+value}` are filled from the environment as a shell does, so that addresses and
keys stay out of the files; a default may itself be a variable. An arm whose model comes out empty is left out, and so is
a server with neither model nor base_url: that is how they are made optional.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from presets import yaml_file
from presets.arm import Arm, load_demos
from presets.risk_taxonomy import load_taxonomy
from presets.safety_config import load_safety_configs
from presets.yaml_file import FieldError, PresetError, require_id, require_text

PROFILES = Path(__file__).parent / "profiles"
ROOT = Path(__file__).parent.parent
HUB_ID = re.compile(r"[^~./][^/]*(/[^/]+)?")
"""A name on the model hub, alone or after its owner's: at most one slash, and none of the signs that begin a path."""
VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::([-+])((?:\$\{[^{}]*\}|[^{}])*))?\}")


@dataclass(frozen=True)
class Sampling:
    """How a response is drawn. `temperature` 0 is greedy; `top_p` in (0, 1]; `max_tokens` of the answer."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 2:
            raise FieldError("temperature", f"is {self.temperature}; it lies between 0 and 2")
        if not 0 < self.top_p <= 1:
            raise FieldError("top_p", f"is {self.top_p}; it lies above 0 and is at most 1")
        if self.max_tokens < 1:
            raise FieldError("max_tokens", f"is {self.max_tokens}; at least 1 is needed")


def model_folder(name: str, root: Path = ROOT) -> Path | None:
    """The folder that a model or adapter name stands for, whether it exists or not; None for a hub id."""
    path = root / os.path.expanduser(name)
    could_be_hub_id = HUB_ID.fullmatch(name) and not name.startswith("models/")
    return None if could_be_hub_id and not path.exists() else path


@dataclass(frozen=True)
class Server:
    """One OpenAI-protocol server: a vLLM process of ours (`model`), or somebody's (`base_url`), also of a known `model`.

    `model` is a folder (relative to the repository) or a hub id; `adapters` maps served names to LoRA folders or hub
    ids; `args` goes to vLLM as it stands. With `base_url`, `api_key` is sent as the bearer token.
    """

    id: str
    model: str | None = None
    served_name: str = "base"
    revision: str | None = None
    adapters: Mapping[str, str] = field(default_factory=dict)
    max_model_len: int = 4096
    dtype: str = "auto"
    args: tuple[str, ...] = ()
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        require_id("id", self.id)
        if not (self.model or self.base_url):
            raise FieldError("model", "and base_url: at least one of them says where the model is")
        object.__setattr__(self, "base_url", self.base_url or None)
        object.__setattr__(self, "adapters", {name: path for name, path in dict(self.adapters).items() if path})
        object.__setattr__(self, "args", tuple(str(arg) for arg in self.args))

    @property
    def is_local(self) -> bool:
        """True when we start the server ourselves."""
        return self.base_url is None


@dataclass(frozen=True)
class JudgeChoice:
    """Who judges: `kind` tinyworld (exact, no model) or llm (`model` on `server`, the profile's first unless named).

    `id` tells the judges of one profile apart; without one the kind does.
    """

    kind: str
    server: str | None = None
    model: str | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        if self.id is not None:
            require_id("id", self.id)
        if self.kind not in ("tinyworld", "llm"):
            raise FieldError("kind", f"is {self.kind!r}; it is 'tinyworld' or 'llm'")
        if self.kind == "llm" and not self.model:
            raise FieldError("model", "is missing; an llm judge needs one")

    @property
    def name(self) -> str:
        """What commands call this judge."""
        return self.id or self.kind


@dataclass(frozen=True)
class Profile:
    """Everything a run needs to know. Arms whose model came out empty from the environment are left out.

    `judge` decides the scores; `judges` are further ones, which a run may let read the same responses.
    """

    id: str
    title: str
    description: str
    taxonomy: str
    servers: tuple[Server, ...]
    arms: tuple[Arm, ...]
    judge: JudgeChoice
    judges: tuple[JudgeChoice, ...] = ()
    sampling: Sampling = Sampling()
    default_config: str | None = None
    page_arms: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_id("id", self.id)
        require_text("title", self.title)
        load_taxonomy(self.taxonomy)
        if not self.arms:
            raise FieldError("arms", "is empty; name at least one (was its model left out of the environment?)")
        for attribute, things in (("servers", self.servers), ("arms", self.arms)):
            ids = [thing.id for thing in things]
            if len(set(ids)) < len(ids):
                raise FieldError(attribute, f"an id stands there twice: {', '.join(ids)}")
        object.__setattr__(self, "judge", self._placed(self.judge))
        object.__setattr__(self, "judges", tuple(self._placed(judge) for judge in self.judges))
        known = {server.id for server in self.servers}
        judges = (self.judge, *self.judges)
        if len({judge.name for judge in judges}) < len(judges):
            raise FieldError(
                "judges", f"two have one name ({', '.join(judge.name for judge in judges)}); give each an id"
            )
        for name in [arm.server for arm in self.arms] + [judge.server for judge in judges if judge.server]:
            if name not in known:
                raise FieldError(
                    "servers", f"{name!r} is asked for but not there; there are {', '.join(sorted(known))}"
                )
        for arm in self.arms:
            server = self.server(arm.server)
            if server.model and arm.model not in (server.served_name, *server.adapters):
                names = ", ".join((server.served_name, *server.adapters))
                raise FieldError(
                    "arms", f"{arm.id!r} asks for model {arm.model!r}; server {server.id!r} serves {names}"
                )
        object.__setattr__(self, "examples", tuple(self.examples))
        object.__setattr__(self, "page_arms", tuple(self.page_arms) or tuple(self._page_ids()[:3]))
        self._check_names()

    def _placed(self, judge: JudgeChoice) -> JudgeChoice:
        """An llm judge without a server asks the first one."""
        needs_server = judge.kind == "llm" and not judge.server and self.servers
        return replace(judge, server=self.servers[0].id) if needs_server else judge

    def _check_names(self) -> None:
        """Raise `FieldError` unless page arms, default config and demos are there."""
        ids = [arm.id for arm in self.arms]
        if unknown := [name for name in self.page_arms if name not in ids]:
            raise FieldError("page_arms", f"{unknown[0]!r} is no arm of the profile; it has {', '.join(ids)}")
        if filtered := [name for name in self.page_arms if name not in self._page_ids()]:
            raise FieldError("page_arms", f"{filtered[0]!r} has a filter, which only `evaluation run` applies")
        configs = load_safety_configs(self.taxonomy)
        if self.default_config is not None and self.default_config not in configs:
            raise FieldError("default_config", f"is {self.default_config!r}; there are {', '.join(configs)}")
        for arm in self.arms:
            if arm.demos is not None:
                try:
                    load_demos(arm.demos)
                except PresetError as error:
                    raise FieldError("arms", f"{arm.id!r} has no demos to show: {error}") from error

    def _page_ids(self) -> list[str]:
        """The arms that can answer on the page, where answers are seen as they are written and so before any filter."""
        return [arm.id for arm in self.arms if arm.filter is None]

    def server(self, server_id: str) -> Server:
        """The server with this id. Raises `KeyError`."""
        return {server.id: server for server in self.servers}[server_id]

    def judged_by(self, names: Sequence[str]) -> Profile:
        """This profile with these judges only, the first of which decides. Raises `PresetError` naming those there are."""
        judges = {judge.name: judge for judge in (self.judge, *self.judges)}
        for name in names:
            if name not in judges:
                raise PresetError(f"profile {self.id!r} has no judge {name!r}; it has {', '.join(judges)}")
        first, *more = (judges[name] for name in names)
        return replace(self, judge=first, judges=tuple(more))

    def arm(self, arm_id: str) -> Arm:
        """The arm with this id. Raises `PresetError` naming the arms there are."""
        arms = {arm.id: arm for arm in self.arms}
        if arm_id not in arms:
            raise PresetError(f"profile {self.id!r} has no arm {arm_id!r}; it has {', '.join(arms)}")
        return arms[arm_id]


def load_profile(name: str | Path, environment: Mapping[str, str] | None = None) -> Profile:
    """Return the profile with this id, or the one in this YAML file. Raises `PresetError`."""
    path = Path(name) if str(name).endswith(".yaml") else PROFILES / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in PROFILES.glob("*.yaml")))
        raise PresetError(f"{path}: there is no profile {str(name)!r}; there are {known}")
    data = _expand(yaml_file.read(path), os.environ if environment is None else environment, path)
    parts: dict[str, Any] = dict(data)
    parts["servers"] = yaml_file.build_list(Server, _wanted(data.get("servers"), "model", "base_url"), path, "servers")
    wanted = _wanted(data.get("arms"), "model")
    parts["arms"] = yaml_file.build_list(Arm, wanted, path, "arms")
    if isinstance(data.get("page_arms"), list):
        left_out = [row.get("id") for row in data.get("arms") or [] if row not in wanted]
        parts["page_arms"] = [name for name in data["page_arms"] if name not in left_out]
    parts["judge"] = yaml_file.build(JudgeChoice, data.get("judge"), path, where="judge.")
    parts["judges"] = yaml_file.build_list(JudgeChoice, _wanted(data.get("judges"), "model"), path, "judges")
    parts["sampling"] = yaml_file.build(Sampling, data.get("sampling") or {}, path, where="sampling.")
    return yaml_file.build(Profile, parts, path)


def _wanted(rows: Any, *fields: str) -> Any:
    """The rows without those of which a field came out empty from the environment, and none of the others is given."""
    if not isinstance(rows, list):
        return rows

    def is_wanted(row: Any) -> bool:
        if not isinstance(row, dict):
            return True  # it is refused where it is built
        found = [row.get(field) for field in fields]
        return any(found) or "" not in found

    return [row for row in rows if is_wanted(row)]


def _expand(value: Any, environment: Mapping[str, str], path: Path) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, environment, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, environment, path) for item in value]
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        name, operator, word = match.groups()
        value = environment.get(name, "")
        if operator == "+":
            return VARIABLE.sub(look_up, word) if value else ""
        if value or operator == "-":
            return value or VARIABLE.sub(look_up, word)
        raise PresetError(f"{path}: the environment variable {name} is not set; export {name}=... and start again")

    return VARIABLE.sub(look_up, value)
