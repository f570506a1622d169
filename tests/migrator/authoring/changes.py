"""Changes of the models, and the steps that are to be written for each."""

from __future__ import annotations

from dataclasses import dataclass

from tests.migrator.authoring.project import CRATES, MODELS
from tests.migrator.authoring.traffic import OTHER

META = "    class Meta:\n        {}\n\n    maker = "
PART_MAKER = "maker = models.ForeignKey(Maker, models.CASCADE, null=True)"
LAST_OF_ITEM = "address = models.CharField(max_length=39, null=True)\n"


def meta(line: str) -> str:
    """The models with this line in the Meta of Item."""
    return MODELS.replace("    maker = ", META.format(line), 1)


def added(*lines: str) -> str:
    """The models with these fields at the end of Item."""
    return MODELS.replace(LAST_OF_ITEM, LAST_OF_ITEM + "".join(f"    {line}\n" for line in lines))


@dataclass(frozen=True)
class Change:
    """The models afterwards, the names of the migrations, and the columns that new code writes besides or instead."""

    models: str
    steps: tuple[str, ...]
    columns: str = ""
    values: str = ""
    renames: tuple[str, ...] = ()
    gone: str = ""
    """Those that new code does not know any more; renamed ones in the order of `columns`."""
    sends: tuple[str, ...] = ()
    """What new code sends besides."""
    crates: str = CRATES
    crates_steps: tuple[str, ...] = ()
    is_squashed: bool = True
    """Whether Django can: not where an app's migrations have to come before and after those of another."""

    @property
    def makemigrations(self) -> tuple[str, ...]:
        """The command that writes them."""
        return ("makemigrations", "--noinput", *(f"--rename=shop.{one}" for one in self.renames))

    @property
    def renamed(self) -> list[tuple[str, str, str]]:
        """Of each renamed column: the old one, the new one, and what new code writes."""
        columns = zip(self.gone.split(", "), self.columns.split(", "), self.values.split(", "), strict=False)
        return list(columns) if self.renames else []


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
    "a longer text": Change(MODELS.replace("max_length=20", "max_length=30", 1), ("alter_item_colour",)),
    "a renamed field that keeps its column": Change(
        MODELS.replace("colour = models.CharField(", "color = models.CharField(db_column='colour', "),
        ("alter_item_colour_rename_colour_item_color",),
    ),
    "a larger number": Change(
        MODELS.replace("models.IntegerField", "models.BigIntegerField", 1),
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
        renames=("Item.colour=color",),
        gone="colour",
    ),
    "a renamed field with rules": Change(
        MODELS.replace("amount =", "number ="),
        ("rename_amount_item_number", "fill_item_number", "item_number_rules"),
        "number",
        "5",
        renames=("Item.amount=number",),
        gone="amount",
    ),
    "a renamed foreign key": Change(
        MODELS.replace("maker =", "producer =", 1),
        ("rename_maker_item_producer", "fill_item_producer", "item_producer_rules", "index_item_producer"),
        "producer_id",
        "1",
        renames=("Item.maker=producer",),
        gone="maker_id",
    ),
    "a renamed model that keeps its table": Change(
        added("", "class Meta:", "    db_table = 'shop_item'").replace("class Item(", "class Article("),
        ("alter_item_table_rename_item_article",),
        crates=CRATES.replace("shop.Item", "shop.Article"),
        is_squashed=False,
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
        .replace("    maker = ", META.format("indexes = [models.Index(fields=['amount'], name='by_amount')]"), 1)
        .replace(
            "20, null=True)\n    amount",
            "20, default='red')\n    token = models.UUIDField(default=uuid.uuid4)\n    amount",
        ),
        (
            "item_second_item_token_alter_item_colour",
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
    "unique in each way": Change(
        MODELS.replace("tag = models.CharField(max_length=40)", "tag = models.CharField(max_length=40, unique=True)")
        .replace("[('shelf', 'place')]", "[('shelf', 'place'), ('lot', 'kind')]")
        .replace(
            "        constraints = [\n",
            "        constraints = [\n            models.UniqueConstraint(fields=['lot'], name='one_lot'),\n"
            "            models.UniqueConstraint(functions.Upper('mark'), name='one_mark'),\n",
        ),
        ("alter_part_unique_together_alter_part_tag_and_2_others",),
    ),
    "all that can be removed": Change(
        MODELS.replace("max_length=40, unique=True", "max_length=40")
        .replace("max_length=20, db_index=True", "max_length=20")
        .replace("models.PositiveIntegerField", "models.IntegerField")
        .replace(PART_MAKER, PART_MAKER.replace("null=True", "null=True, db_constraint=False, db_index=False"))
        .partition("\n    class Meta:")[0],
        ("remove_part_one_serial_remove_part_place_rule_and_6_others",),
        sends=(
            "INSERT INTO shop_part (code, kind, serial, shelf, place, weight, maker_id, tag, lot, mark) "
            f"VALUES ({OTHER}, 'new', {OTHER}, {OTHER}, 3, 4, 1, {OTHER}, {OTHER}, {OTHER})",
        ),
    ),
    "required fields of each kind": Change(
        added(
            "made = models.DateTimeField(auto_now_add=True)",
            "changed = models.DateTimeField(auto_now=True)",
            "day = models.DateField(default=date.today)",
            "token = models.UUIDField(default=uuid.uuid4)",
            "kinds = models.JSONField(default=dict)",
            "second = models.ForeignKey(Maker, models.CASCADE, default=1, related_name='+')",
        ).replace(
            "colour = models.CharField(max_length=20, null=True)",
            "colour = models.CharField(max_length=20, default='red')",
        ),
        (
            "item_changed_item_day_item_kinds_item_made_and_3_others",
            "fill_item_token",
            "item_second_rules",
            "item_token_rules",
            "index_item_second",
        ),
        "made, changed, day, token, kinds, second_id",
        "now(), now(), current_date, gen_random_uuid(), '{}', 1",
    ),
    "several renamed fields": Change(
        MODELS.replace("colour =", "color =").replace("note =", "remark =").replace("address =", "place =", 1),
        (
            "rename_colour_item_color_rename_address_item_place_and_rename_note_item_remark",
            "fill_item_color",
            "fill_item_place",
            "fill_item_remark",
        ),
        "color, remark, place",
        "'black', '{}', '10.0.0.2'",
        renames=("Item.colour=color", "Item.note=remark", "Item.address=place"),
        gone="colour, note, address",
    ),
    "a renamed field with an index and a check": Change(
        MODELS.replace("amount =", "number =").replace(
            "    maker = ",
            META.format(
                "indexes = [models.Index(fields=['number'], name='by_number')]\n"
                "        constraints = [models.CheckConstraint(condition=models.Q(number__gte=-5), name='least')]"
            ),
            1,
        ),
        ("rename_amount_item_number_item_least", "fill_item_number", "item_number_rules", "index_by_number"),
        "number",
        "5",
        renames=("Item.amount=number",),
        gone="amount",
    ),
    "a renamed field, a larger one, and a new one": Change(
        added("weight = models.FloatField(default=1.5)")
        .replace("colour =", "color =")
        .replace("amount = models.IntegerField", "amount = models.BigIntegerField"),
        ("rename_colour_item_color_item_weight", "fill_item_color", "widen_item_amount"),
        "color, weight",
        "'black', 2",
        renames=("Item.colour=color",),
        gone="colour",
    ),
    "two models that refer to each other": Change(
        added("second = models.ForeignKey(Maker, models.CASCADE, null=True, related_name='+')").replace(
            "db_default='here')\n",
            "db_default='here')\n"
            "    best = models.ForeignKey('Item', models.SET_NULL, null=True, related_name='+')\n"
            "    rank = models.PositiveSmallIntegerField(null=True, db_index=True)\n",
        ),
        (
            "item_second_maker_best_maker_rank",
            "maker_rank_rules",
            "index_item_second",
            "index_maker_best",
            "index_maker_rank",
        ),
        "second_id",
        "1",
        sends=("UPDATE shop_maker SET best_id = 7, rank = 4 WHERE id = 1",),
    ),
    "two apps that refer to each other": Change(
        MODELS.replace(
            "class Part", "class Box(models.Model):\n    width = models.IntegerField()\n\n\nclass Part"
        ).replace(
            LAST_OF_ITEM,
            LAST_OF_ITEM
            + "    slug = models.SlugField(null=True)\n"
            + "    bin = models.ForeignKey('crates.Bin', models.CASCADE, null=True, related_name='+')\n",
        ),
        ("box_item_bin_item_slug", "index_item_bin", "index_item_slug"),
        "slug, bin_id",
        "'a', NULL",
        crates=CRATES
        + "    box = models.ForeignKey('shop.Box', models.CASCADE, null=True)\n"
        + "\n\nclass Bin(models.Model):\n    code = models.SlugField(unique=True)\n",
        crates_steps=("bin", "crate_box", "index_crate_box"),
        is_squashed=False,
        sends=("INSERT INTO crates_crate (label, item_id, box_id) VALUES ('new', 5, NULL)",),
    ),
    "a model removed, and a many-to-many field": Change(
        added("makers = models.ManyToManyField(Maker, related_name='+')").partition("\n\nclass Part")[0],
        ("item_makers", "delete_part"),
        crates=CRATES.partition("    part =")[0],
        crates_steps=("remove_crate_lid_remove_crate_part",),
        is_squashed=False,
        sends=("INSERT INTO shop_item_makers (item_id, maker_id) SELECT max(id), 1 FROM shop_item",),
    ),
    "looser rules": Change(
        MODELS.replace("name = models.CharField(max_length=50)", "name = models.TextField(null=True)")
        .replace("models.IntegerField(default=0)", "models.IntegerField(default=1, null=True)", 1)
        .replace("tag = models.CharField(max_length=40)", "tag = models.CharField(max_length=60, blank=True)")
        .replace("models.PositiveIntegerField", "models.PositiveBigIntegerField"),
        ("alter_item_amount_alter_item_name_alter_part_tag", "widen_part_weight"),
    ),
    "stricter rules": Change(
        MODELS.replace("20, null=True)", "20, default='')").replace(
            "place = models.IntegerField", "place = models.PositiveIntegerField"
        ),
        ("alter_item_colour_alter_part_place",),
    ),
    "larger numbers that are more": Change(
        MODELS.replace(
            "amount = models.IntegerField(default=0)",
            "amount = models.PositiveBigIntegerField(null=True, db_index=True, db_comment='how many')",
        ).replace("weight = models.PositiveIntegerField", "weight = models.BigIntegerField"),
        ("alter_part_weight", "widen_item_amount", "widen_part_weight", "item_amount_rules", "index_item_amount"),
    ),
    "a larger primary key, and a number that is unique with others": Change(
        MODELS.replace("id = models.AutoField", "id = models.BigAutoField").replace(
            "place = models.IntegerField", "place = models.BigIntegerField"
        ),
        ("widen_part_id", "widen_part_place"),
        sends=(
            "INSERT INTO crates_crate (label, part_id, lid_id) SELECT 'new', max(id), NULL FROM shop_part",
            "SELECT p.kind, count(*) FROM shop_part p JOIN crates_crate ON part_id = p.id WHERE p.id < 9 GROUP BY p.id",
        ),
    ),
    "values of the database": Change(
        added(
            "luck = models.FloatField(db_default=functions.Random())",
            "made = models.DateTimeField(db_default=functions.Now(), db_index=True)",
            "token = models.UUIDField(default=uuid.uuid4, null=True)",
            "level = models.PositiveSmallIntegerField(db_default=3)",
        ),
        (
            "item_level_item_luck_item_made_item_token",
            "fill_item_luck",
            "fill_item_token",
            "item_level_rules",
            "item_luck_rules",
            "item_token_rules",
            "index_item_made",
        ),
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
    "a shorter text": (MODELS.replace("max_length=50)", "max_length=40)"), "new name"),
    "an exclusion constraint": (
        meta("constraints = [ExclusionConstraint(name='once', expressions=[('address', '=')])]"),
        "excused",
    ),
    "a unique field of one value": (added("only = models.IntegerField(default=1, unique=True)"), "null=True"),
    "a required one-to-one field": (
        added("only = models.OneToOneField(Maker, models.CASCADE, default=1, related_name='+')"),
        "null=True",
    ),
    "a value that only Python can make": (added("luck = models.FloatField(default=random.random)"), "db_default"),
    "a foreign key to others": (
        MODELS.replace("maker = models.ForeignKey(Maker", "maker = models.ForeignKey('Part'", 1),
        "refer",
    ),
    "another primary key": (
        MODELS.replace("    name =", "    id = models.UUIDField(primary_key=True, default=uuid.uuid4)\n    name =", 1),
        "primary key",
    ),
    "a primary key that is another field": (
        MODELS.replace("max_length=50)", "max_length=50, primary_key=True)", 1),
        "primary key",
    ),
    "an index for another kind of text": (
        MODELS.replace("CharField(max_length=50, unique", "TextField(unique"),
        "max_length",
    ),
    "a type that one code cannot read": (MODELS.replace("models.IntegerField", "models.TextField", 1), "new name"),
    "a stored expression": (
        added(
            "double = models.GeneratedField(expression=models.F('amount') * 2, "
            "output_field=models.IntegerField(), db_persist=True)"
        ),
        "ordinary field",
    ),
}
