"""What an administrator fills in for a run: made from the schema of the recipe."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import BooleanField, Field, SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length, ValidationError

from webapp.datasets.models import Snapshot
from webapp.errors import Invalid
from webapp.registry.models import ModelVersion
from webapp.training.checking import TEXT_LENGTH_MAX, keys
from webapp.training.models import Device, RecipeEntry
from webapp.training.services import OWN_STARTS, default_start, start_of

_NEEDED = _l("This is needed.")
_STARTS = {
    "imagenet": _l("Weights fitted to ImageNet"),
    "random": _l("Random weights"),
}
_REASONS = {
    "other_task": _l("This snapshot is of another reading task."),
    "no_test": _l(
        "No picture of the locked test of this reading task is registered here, so that nothing"
        " could be told of the new model. Register a data set that has them."
    ),
    "unknown": _l("This cannot be chosen any more."),
    "type": _l("This value is not of the kind that the recipe needs."),
    "choice": _l("This value is none of those that the recipe knows."),
}
_KINDS = {
    "int": _l("Enter a whole number."),
    "float": _l("Enter a number, such as 0.001 or 1e-3."),
    "floats": _l("Enter numbers, separated by spaces."),
}


class ValueField(StringField):
    """A number of a recipe, or several, as text."""

    def __init__(self, label: str, kind: str, **options: Any) -> None:
        needed = InputRequired(_NEEDED)
        super().__init__(label, [needed, Length(max=TEXT_LENGTH_MAX)], **options)
        self.kind = kind

    @property
    def value(self) -> Any:
        """What was entered. Raises ValueError where it is not of the kind."""
        text = self.data or ""
        match self.kind:
            case "int":
                return int(text)
            case "float":
                return _number(text)
            case "floats":
                return [_number(part) for part in text.split()]
            case _:
                return text

    def pre_validate(self, form: Any) -> None:
        """It is of its kind."""
        try:
            _unused = self.value
        except ValueError as error:
            raise ValidationError(_KINDS[self.kind]) from error


def _number(text: str) -> float:
    return float(text.replace(",", "."))


class RunForm(FlaskForm):
    """A training: on what, from where, with what; and each value of the recipe."""

    snapshot_id = SelectField(_l("Snapshot"), [InputRequired(_NEEDED)], coerce=int)
    init = SelectField(
        _l("Start from"),
        description=_l("Weights that know this kind of picture already learn sooner."),
    )
    device = SelectField(
        _l("Computed on"),
        choices=[SelectChoice(device.value, device.label) for device in Device],
        coerce=Device,
    )

    recipe: RecipeEntry

    @property
    def overrides(self) -> dict[str, Any]:
        """What differs from the recipe, by `table.key`, once the form is valid."""
        said = {name: _value_of(self[_field_name(name)]) for name, _key in keys(self.recipe.schema)}
        return {name: v for name, v in said.items() if v != _in_recipe(self.recipe, name)}

    def sections(self) -> Iterator[tuple[Mapping[str, Any], list[Field]]]:
        """The tables of the recipe with their fields, those without any left out."""
        for table in self.recipe.schema:
            own = [
                self[_field_name(name)]
                for name, _key in keys([table])  # in the order of the recipe
            ]
            if own:
                yield table, own

    def refuse(self, error: Invalid) -> None:
        """Put the sentences for a refusal beside the fields that they are about."""
        names = {"snapshot": "snapshot_id"}
        for name, reason in error.facts.items():
            field = self[names.get(name) or _field_name(name)]
            field.errors = [*field.errors, str(_REASONS[reason])]


def run_form(
    recipe: RecipeEntry, snapshots: Sequence[Snapshot], fitting: Sequence[ModelVersion]
) -> RunForm:
    """The form for one recipe, filled with its values."""
    changeable = dict(keys(recipe.schema))
    fields = {_field_name(name): _field(name, key, recipe) for name, key in changeable.items()}
    kind = type("FormOfRecipe", (RunForm,), {**fields, "recipe": recipe})
    values = {_field_name(name): _shown(_in_recipe(recipe, name)) for name in changeable}
    form: RunForm = kind(data=values | {"init": default_start(recipe, fitting)})
    form.snapshot_id.choices = [
        SelectChoice(str(snapshot.id), _snapshot_words(snapshot)) for snapshot in snapshots
    ]
    form.init.choices = [
        *(SelectChoice(start_of(version), _start_words(version)) for version in fitting),
        *(SelectChoice(start, _STARTS[start]) for start in OWN_STARTS),
    ]
    return form


def _snapshot_words(snapshot: Snapshot) -> str:
    name = _("Snapshot %(id)s", id=snapshot.id)
    base = snapshot.dataset.name if snapshot.dataset else _("the house's own cases alone")
    return " · ".join(part for part in (name, base, snapshot.note) if part)


def _start_words(version: ModelVersion) -> str:
    return _("Version %(version)s of this installation", version=version.version)


def _field(name: str, key: Mapping[str, Any], recipe: RecipeEntry) -> Any:
    """The field of a key; the recipe's value stands in its hint."""
    label = key["name"].replace("_", " ")
    value = _shown(_in_recipe(recipe, name))
    hint = f"{key['about']} Recipe: {value}".strip()
    if key["type"] == "bool":
        return BooleanField(label, description=key["about"])
    if key["choices"]:
        choices = [SelectChoice(choice, choice) for choice in key["choices"]]
        return SelectField(label, choices=choices, description=hint)
    return ValueField(label, key["type"], description=hint)


def _field_name(name: str) -> str:
    return name.replace(".", "-")


def _value_of(field: Field) -> Any:
    return field.value if isinstance(field, ValueField) else field.data


def _in_recipe(recipe: RecipeEntry, name: str) -> Any:
    part, _dot, key = name.rpartition(".")
    return (recipe.table[part] if part else recipe.table)[key]


def _shown(value: Any) -> Any:
    """A value as its field shows it."""
    if isinstance(value, bool):
        return value
    if isinstance(value, list):
        return " ".join(f"{one:.12g}" for one in value)
    return f"{value:.12g}" if isinstance(value, float) else str(value)
