from django.db import migrations, models

MORE = """
    CREATE TYPE urgency AS ENUM ('low', 'high');
    ALTER TABLE shop_buyer ADD COLUMN urgency urgency NOT NULL DEFAULT 'low';
    CREATE VIEW open_bills AS SELECT id, state FROM shop_bill;
    CREATE MATERIALIZED VIEW bill_sums AS SELECT id, total FROM shop_bill;
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER stamp BEFORE UPDATE ON shop_bill FOR EACH ROW EXECUTE FUNCTION stamp();
    CREATE TABLE log (id bigint, day date) PARTITION BY RANGE (day);
    CREATE TABLE log_2024 PARTITION OF log FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    CREATE TABLE log_2020 (id bigint, day date);
    CREATE TABLE keyless (id bigint, amount int);
    CREATE SCHEMA archive;
    CREATE TABLE archive.bill (id int);
    CREATE SEQUENCE numbers;
"""


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel("Label", [("id", models.BigAutoField(primary_key=True)), ("word", models.TextField())]),
        migrations.CreateModel(
            "Buyer",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.TextField()),
                ("mail", models.CharField(max_length=100)),
                ("code", models.CharField(max_length=10, null=True)),
                ("is_active", models.BooleanField(db_default=True)),
                ("credit", models.DecimalField(max_digits=10, decimal_places=2)),
                ("labels", models.ManyToManyField("shop.label")),
            ],
        ),
        migrations.CreateModel(
            "Article",
            [
                ("id", models.AutoField(primary_key=True)),
                ("name", models.TextField()),
                ("number", models.CharField(max_length=20)),
            ],
        ),
        migrations.CreateModel(
            "Leaflet", [("id", models.BigAutoField(primary_key=True)), ("text", models.TextField())]
        ),
        migrations.CreateModel(
            "Season",  # of which there are no 12,000
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("code", models.CharField(max_length=2, unique=True)),
                ("note", models.TextField(null=True)),
            ],
        ),
        migrations.CreateModel(
            "Bill",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("buyer", models.ForeignKey("shop.buyer", models.PROTECT, null=True)),
                ("buyer_number", models.BigIntegerField(null=True)),
                ("note", models.TextField(null=True)),
                ("memo", models.TextField()),
                ("position", models.IntegerField(null=True)),
                ("pieces", models.IntegerField()),
                ("serial", models.BigIntegerField(null=True)),
                ("total", models.DecimalField(max_digits=12, decimal_places=2)),
                ("weight", models.DecimalField(max_digits=8, decimal_places=3)),
                ("state", models.CharField(max_length=20, db_default="new")),
                ("kind", models.CharField(max_length=5, null=True, db_index=True)),
                ("begins", models.DateTimeField(null=True)),
                ("ends", models.DateTimeField(null=True)),
                ("paid_on", models.DateField(null=True)),
                ("token", models.UUIDField(null=True)),
                ("single", models.IntegerField(null=True, unique=True)),
            ],
            options={"unique_together": {("position", "serial")}},
        ),
        migrations.AddIndex("Bill", models.Index(fields=["state"], name="bill_state_idx")),
        migrations.AddConstraint(
            "Bill", models.CheckConstraint(condition=models.Q(pieces__gte=0), name="bill_pieces_check")
        ),
        migrations.AddConstraint("Bill", models.UniqueConstraint(fields=["serial"], name="bill_serial_unique")),
        migrations.RunSQL(MORE, migrations.RunSQL.noop),
    ]
