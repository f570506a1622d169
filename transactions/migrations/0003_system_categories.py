from django.db import migrations

# The ids are fixed, so that a category is the same one in every environment. They were made once, by uuid4().
SYSTEM_CATEGORIES = [
    ("7a7fda8f-5769-410e-b331-42623bb02e53", "Salary", "income"),
    ("8b9dbee0-f584-4722-8c92-47a8ec00d96e", "Business", "income"),
    ("45dab612-e316-41e7-b5ff-2def003950ee", "Investment", "income"),
    ("ade484b7-933c-4b05-9d29-1ddc9d3f552d", "Groceries", "expense"),
    ("04eab69a-1721-4b3e-bf05-88234e2c635a", "Dining & Restaurants", "expense"),
    ("fc2a83ff-f93a-4861-8a29-bcfe0d9060b2", "Transportation", "expense"),
    ("6725ad19-4469-46fe-9d46-9c586abc9f84", "Shopping", "expense"),
    ("31141fd5-bcbe-4dc0-b7b4-0e5b8c5a5242", "Entertainment", "expense"),
    ("7b4af909-8cd4-4311-9566-c14e54bd3b78", "Healthcare", "expense"),
    ("c908827a-0eb5-4720-b0d2-47c32033bb86", "Bills & Utilities", "expense"),
    ("d99a14b5-0bce-4b50-8126-0344cb0b4e07", "Education", "expense"),
    ("587fdc60-d9c0-4ef4-8adf-0b0b1f815bc9", "Transfer", "transfer"),
]


def add_system_categories(apps, schema_editor):
    """Add those that are not there yet; leave the others as they are."""
    category_model = apps.get_model("transactions", "Category")
    category_model.objects.using(schema_editor.connection.alias).bulk_create(
        [
            category_model(id=id_, name=name, category_type=category_type, is_system=True)
            for id_, name, category_type in SYSTEM_CATEGORIES
        ],
        ignore_conflicts=True,
    )


def remove_system_categories(apps, schema_editor):
    """Remove those that nobody's rows refer to: the others would take the history of somebody's money along."""
    categories = apps.get_model("transactions", "Category").objects.using(schema_editor.connection.alias)
    categories.filter(
        id__in=[id_ for id_, _, _ in SYSTEM_CATEGORIES],
        budgets__isnull=True,
        recurring_transactions__isnull=True,
    ).delete()


class Migration(migrations.Migration):
    """The categories that everybody has."""

    phase = "expand"
    dependencies = [
        ("transactions", "0002_complete_api_schema"),
    ]

    operations = [
        migrations.RunPython(add_system_categories, remove_system_categories),
    ]
