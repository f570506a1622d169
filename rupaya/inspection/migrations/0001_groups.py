from django.db import migrations

INSPECTED = {
    "accounts": ("user", "device", "phoneotp", "revokedtoken"),
    "transactions": (
        "account", "category", "transaction", "recurringtransaction", "budget",
        "monthlyexpensesummary", "monthlyincomesummary", "budgetprogress",
    ),
}  # fmt: skip
EDITED = {
    "accounts": ("user", "device"),
    "transactions": ("account", "category", "transaction", "recurringtransaction", "budget"),
}
STORY = {"story": ("run", "attempt")}


def make_groups(apps, schema_editor):
    """Make the three groups, or give those that are there what they lack."""
    alias = schema_editor.connection.alias
    content_types = apps.get_model("contenttypes", "ContentType").objects.using(alias)
    permissions = apps.get_model("auth", "Permission").objects.using(alias)
    groups = apps.get_model("auth", "Group").objects.using(alias)

    def permission(app, model, codename, name):
        # Django makes them at the end of `migrate`; what is there then it leaves alone.
        content_type, _ = content_types.get_or_create(app_label=app, model=model)
        return permissions.get_or_create(content_type=content_type, codename=codename, defaults={"name": name})[0]

    def each(action, models):
        return [
            permission(app, model, f"{action}_{model}", f"Can {action} {model}")
            for app, names in models.items()
            for model in names
        ]

    look = each("view", INSPECTED | STORY)
    log = each("view", {"admin": ("logentry",)})
    personal = permission("accounts", "user", "view_personal_data", "Can see personal data whole")
    for name, given in {
        "inspector": look,
        "auditor": look + log,
        "operator": [*look, *log, personal, *each("change", EDITED)],
    }.items():
        group, _ = groups.get_or_create(name=name)
        group.permissions.add(*given)


class Migration(migrations.Migration):
    """Who may look, who may read the log too, and who may change: `inspector`, `auditor` and `operator`.

    Unapplied, it leaves the groups: people are in them.
    """

    phase = "expand"
    dependencies = [
        ("accounts", "0005_inspection_indexes"),
        ("transactions", "0006_inspection_indexes"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
