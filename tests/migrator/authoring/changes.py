"""Changes of the shop's models, and the steps that are to be written for each."""

from __future__ import annotations

from dataclasses import dataclass

from tests.migrator.authoring.project import MODELS

META = "    class Meta:\n        {}\n\n    maker = "


def meta(line: str) -> str:
    """The models with this line in the Meta of Item."""
    return MODELS.replace("    maker = ", META.format(line))


def added(line: str) -> str:
    """The models with this field at the end of Item."""
    return f"{MODELS}    {line}\n"


@dataclass(frozen=True)
class Change:
    """The models afterwards, the names of the migrations, and the column that new code writes besides or instead."""

    models: str
    steps: tuple[str, ...]
    column: str = ""
    value: str = ""
    rename: str = ""
    gone: str = ""
    """The column that new code does not know any more."""

    @property
    def makemigrations(self) -> tuple[str, ...]:
        """The command that writes them."""
        renames = (f"--rename=shop.Item.{self.rename}",) if self.rename else ()
        return ("makemigrations", "--noinput", *renames)


CHANGES = {
    "an index": Change(meta("indexes = [models.Index(fields=['colour'], name='by_colour')]"), ("index_by_colour",)),
    "db_index": Change(
        MODELS.replace("20, null=True)", "20, null=True, db_index=True)"),
        ("index_item_colour",),
    ),
    "a foreign key": Change(
        added("second = models.ForeignKey(Maker, models.CASCADE, null=True, related_name='+')"),
        ("item_second", "index_item_second"),
        "second_id",
        "1",
    ),
    "a one-to-one field": Change(
        added("only = models.OneToOneField(Maker, models.CASCADE, null=True, related_name='+')"),
        ("item_only", "item_only_rules"),
        "only_id",
        "NULL",
    ),
    "an identifier for each row": Change(
        added("token = models.UUIDField(default=uuid.uuid4, unique=True)"),
        ("item_token", "fill_item_token", "item_token_rules"),
        "token",
        "gen_random_uuid()",
    ),
    "the time of now": Change(
        added("made = models.DateTimeField(default=timezone.now)"), ("item_made",), "made", "now()"
    ),
    "a positive number": Change(
        added("count = models.PositiveIntegerField(default=0)"), ("item_count", "item_count_rules"), "count", "1"
    ),
    "a slug": Change(added("slug = models.SlugField(null=True)"), ("item_slug", "index_item_slug"), "slug", "'a'"),
    "a check": Change(
        meta("constraints = [models.CheckConstraint(condition=models.Q(amount__gte=0), name='amount_rule')]"),
        ("item_amount_rule",),
    ),
    "a partial unique constraint": Change(
        meta("constraints = [models.UniqueConstraint(fields=['name'], condition=models.Q(amount=-1), name='once')]"),
        ("item_once",),
    ),
    "no NULL any more, and an index": Change(
        MODELS.replace("20, null=True)", "20, default='red', db_index=True)"),
        ("alter_item_colour", "index_item_colour"),
    ),
    "a longer text": Change(MODELS.replace("max_length=20", "max_length=30"), ("alter_item_colour",)),
    "a renamed field that keeps its column": Change(
        MODELS.replace("colour = models.CharField(", "color = models.CharField(db_column='colour', "),
        ("alter_item_colour_rename_colour_item_color",),
    ),
    "a larger number": Change(
        MODELS.replace("models.IntegerField", "models.BigIntegerField"),
        ("widen_item_amount",),
    ),
    "more decimals": Change(
        MODELS.replace("max_digits=8, decimal_places=2", "max_digits=12, decimal_places=4"),
        ("widen_item_price",),
        "price",
        "1.2345",
    ),
    "a text that is a document": Change(
        MODELS.replace("note = models.TextField(null=True)", "note = models.JSONField(null=True)"),
        ("widen_item_note",),
        "note",
        "'{\"new\": 1}'",
    ),
    "a text that is an address": Change(
        MODELS.replace(
            "address = models.CharField(max_length=39, null=True)", "address = models.GenericIPAddressField(null=True)"
        ),
        ("widen_item_address",),
        "address",
        "'10.0.0.2'",
    ),
    "a renamed field": Change(
        MODELS.replace("colour =", "color ="),
        ("rename_colour_item_color", "fill_item_color"),
        "color",
        "'black'",
        rename="colour=color",
        gone="colour",
    ),
    "a renamed field with rules": Change(
        MODELS.replace("amount =", "number ="),
        ("rename_amount_item_number", "fill_item_number", "item_number_rules"),
        "number",
        "5",
        rename="amount=number",
        gone="amount",
    ),
    "a renamed foreign key": Change(
        MODELS.replace("maker =", "producer ="),
        ("rename_maker_item_producer", "fill_item_producer", "item_producer_rules", "index_item_producer"),
        "producer_id",
        "1",
        rename="maker=producer",
        gone="maker_id",
    ),
    "a renamed model that keeps its table": Change(
        MODELS.replace("class Item(models.Model):\n", "class Article(models.Model):\n")
        + "\n    class Meta:\n        db_table = 'shop_item'\n",
        ("rename_item_article_alter_article_table",),
    ),
    "a field removed and one added": Change(
        added("weight = models.FloatField(default=1.5)").replace(
            "    colour = models.CharField(max_length=20, null=True)\n", ""
        ),
        ("remove_item_colour_item_weight",),
        "weight",
        "2",
        gone="colour",
    ),
    "several at once": Change(
        added("second = models.ForeignKey(Maker, models.CASCADE, null=True, related_name='+')")
        .replace("    maker = ", META.format("indexes = [models.Index(fields=['amount'], name='by_amount')]"))
        .replace(
            "20, null=True)\n    amount",
            "20, default='red')\n    token = models.UUIDField(default=uuid.uuid4)\n    amount",
        ),
        (
            "item_second_item_token_alter_item_colour_and_item_by_amount",
            "fill_item_token",
            "item_token_rules",
            "index_item_second",
            "index_by_amount",
        ),
        "second_id, token",
        "1, gen_random_uuid()",
    ),
    "a new model with all of it": Change(
        MODELS
        + "\n\nclass Box(models.Model):\n"
        + "    item = models.ForeignKey(Item, models.CASCADE)\n    code = models.SlugField(unique=True)\n",
        ("box",),
    ),
}

REFUSED = {
    "a renamed column that is unique": (MODELS.replace("name =", "title =", 1), 'write db_column="name"'),
    "a renamed column that is NULL, with a default": (MODELS.replace("city =", "town ="), 'write db_column="city"'),
    "a renamed table": (MODELS.replace("Item(", "Article("), 'db_table = "shop_item"'),
    "a type that rewrites": (
        MODELS.replace("models.DecimalField", "models.FloatField").replace("max_digits=8, decimal_places=2, ", ""),
        "new name",
    ),
    "a larger number that is another one as well": (
        MODELS.replace("models.IntegerField(", "models.BigIntegerField(null=True, "),
        "new name",
    ),
    "a type that one code cannot read": (MODELS.replace("models.IntegerField", "models.TextField"), "new name"),
    "a stored expression": (
        added(
            "double = models.GeneratedField(expression=models.F('amount') * 2, "
            "output_field=models.IntegerField(), db_persist=True)"
        ),
        "ordinary field",
    ),
}
