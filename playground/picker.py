"""The safety config on the page: choose a ready-made one or write one, and see the system prompt that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from playground import markup, wording
from playground.roles import ALONE, Roles
from playground.session import NotNow
from presets.profile import Profile
from presets.risk_taxonomy import RiskTaxonomy
from presets.safety_config import MAX_TEXT, SafetyConfig
from presets.yaml_file import FieldError

Data = Mapping[Any, Any]
Updates = dict[Any, Any]


@dataclass(frozen=True)
class Choices:
    """What can be picked: the ready-made configs by id, and the rules for a visitor's own, where those are allowed."""

    profile: Profile
    taxonomy: RiskTaxonomy
    configs: Mapping[str, SafetyConfig]
    roles: Roles = ALONE

    @property
    def default(self) -> str:
        """The id of the config that stands there first."""
        wanted = self.profile.default_config
        return wanted if wanted in self.configs else next(iter(self.configs), wording.OWN_ID)

    @property
    def text_may_decide(self) -> bool:
        """True when the judge can read a config's rules, so that no categories need to be ticked."""
        return self.profile.judge.kind == "llm"

    def require_edit(self, request: gr.Request | None) -> None:
        """Raise `NotNow` unless whoever asks may use a config of their own."""
        if not self.roles.may(request, "edit"):
            raise NotNow(wording.NO_EDITS)

    def own(self, title: str, text: str, allowed: list[str], text_decides: bool) -> SafetyConfig:
        """A visitor's own config, whoever it is. Raises `NotNow` naming what to change."""
        try:
            return SafetyConfig(
                id=wording.OWN_ID,
                title=title.strip(),
                text=text.strip(),
                taxonomy=self.taxonomy.id,
                allowed=None if self.text_may_decide and text_decides else frozenset(allowed),
                source=wording.OWN_ID,
            )
        except FieldError as error:
            raise NotNow(wording.plain_error(error)) from error


class Picker:
    """The components that hold the config. Values come from and go to handlers keyed by component."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.arms = [choices.profile.arm(arm_id) for arm_id in choices.profile.page_arms]
        first = choices.configs.get(choices.default)
        options = [(config.title, config.id) for config in choices.configs.values()]
        options += [(wording.OWN, wording.OWN_ID)] if choices.roles.might("edit") else []
        gr.HTML(markup.heading(wording.CONFIG))
        self.origin = gr.State("")
        self.choice = gr.Dropdown(
            options,
            value=choices.default,
            label=wording.CONFIG_LABEL,
            filterable=False,
            elem_id="config-choice",
        )
        self.card = gr.HTML(self._card(first), elem_id="config-card", visible=first is not None)
        self.edit = gr.Button(
            wording.EDIT, size="sm", variant="secondary", elem_id="config-edit", visible=choices.roles.might("edit")
        )
        self._build_editor(first)
        self.error = gr.HTML(elem_id="config-error")
        self.preview = gr.HTML(self._preview(first), elem_id="system-prompt")

    def _build_editor(self, first: SafetyConfig | None) -> None:
        categories = [(category.name, category.id) for category in self.choices.taxonomy.categories]
        allowed = [row for row in categories if row[1] in self.choices.taxonomy.configurable_ids]
        with gr.Column(
            visible=first is None and self.choices.roles.might("edit"), elem_id="config-editor"
        ) as self.editor:
            self.title = gr.Textbox(label=wording.OWN_TITLE, placeholder=wording.OWN_TITLE_HINT, max_length=120)
            self.text = gr.Textbox(
                label=wording.OWN_TEXT,
                placeholder=wording.OWN_TEXT_HINT,
                lines=6,
                max_lines=14,
                max_length=MAX_TEXT,
                elem_id="config-text",
            )
            self.allowed = gr.CheckboxGroup(
                allowed, value=[], label=wording.OWN_ALLOWED, info=wording.OWN_ALLOWED_HINT, elem_id="config-allowed"
            )
            self.text_decides = gr.Checkbox(
                label=wording.TEXT_DECIDES, value=False, visible=self.choices.text_may_decide, elem_id="text-decides"
            )

    @property
    def inputs(self) -> set[Any]:
        """What `config` reads."""
        return {self.choice, self.origin, self.title, self.text, self.allowed, self.text_decides}

    @property
    def outputs(self) -> list[Any]:
        """What `show` and `edit_copy` write."""
        fields = [self.title, self.text, self.allowed, self.text_decides]
        return [self.choice, self.origin, self.card, self.edit, self.editor, *fields, self.error, self.preview]

    def config(self, data: Data, request: gr.Request | None = None) -> SafetyConfig:
        """The config that stands there now, to be used. Raises `NotNow` in the visitor's words when it cannot be."""
        return self.choices.configs.get(data[self.choice]) or self.own(data, request)

    def own(self, data: Data, request: gr.Request | None = None) -> SafetyConfig:
        """The visitor's own config as it stands in the editor, shown or not, to be used. Raises as `config` does."""
        self.choices.require_edit(request)
        return self._drafted(data)

    def _drafted(self, data: Data) -> SafetyConfig:
        return self.choices.own(
            data[self.title] or "", data[self.text] or "", data[self.allowed] or [], bool(data[self.text_decides])
        )

    def show(self, data: Data) -> Updates:
        """The chosen config on view, or the editor for the visitor's own."""
        chosen = self.choices.configs.get(data[self.choice])
        return {
            self.card: gr.update(value=self._card(chosen), visible=chosen is not None),
            self.edit: gr.update(visible=chosen is not None and self.choices.roles.might("edit")),
            self.editor: gr.update(visible=chosen is None and self.choices.roles.might("edit")),
            **self.draft(data, complain=False),
        }

    def draft(self, data: Data, *, complain: bool) -> Updates:
        """The system prompt that the config becomes, under what was changed in a copy; with `complain`, what is wrong with it.

        Nobody is told off while still writing: complaints come when the config is used.
        """
        try:
            config = self.choices.configs.get(data[self.choice]) or self._drafted(data)
        except NotNow as error:
            return {
                self.error: markup.notice(str(error), kind="bad") if complain else "",
                self.preview: self._preview(None),
            }
        origin = self.choices.configs.get(data[self.origin]) if config.source == wording.OWN_ID else None
        changed = "" if origin is None else markup.changes(origin.text.strip(), config.text)
        return {self.error: "", self.preview: changed + self._preview(config)}

    def edit_copy(self, data: Data) -> Updates:
        """The editor, filled with the chosen config."""
        chosen = self.choices.configs.get(data[self.choice])
        if chosen is None or not self.choices.roles.might("edit"):
            return self.show(data)
        return self._filled(chosen, wording.own_title(chosen), origin=chosen.id)

    def put(self, config: SafetyConfig) -> Updates:
        """This config: chosen, where it is a ready-made one, or else in the editor."""
        same = [each.id for each in self.choices.configs.values() if each.content_hash == config.content_hash]
        if same:
            fields = {self.choice: same[0], self.origin: "", self.title: "", self.text: "", self.allowed: []}
            fields[self.text_decides] = False
            return {**fields, **self.show(fields)}
        return self._filled(config, config.title, origin="")

    def _filled(self, config: SafetyConfig, title: str, *, origin: str) -> Updates:
        fields = {
            self.choice: wording.OWN_ID,
            self.origin: origin,
            self.title: title,
            self.text: config.text.strip(),
            self.allowed: sorted(config.allowed or ()),
            self.text_decides: config.allowed is None,
        }
        return {**fields, **self.show(fields)}

    def _card(self, config: SafetyConfig | None) -> str:
        return "" if config is None else markup.config_card(config, self.choices.taxonomy)

    def _preview(self, config: SafetyConfig | None) -> str:
        return "" if config is None else markup.system_prompt(config, self.arms)
