"""The tests of Django's own suite that cannot pass with our commands in the place of Django's, each with the reason."""

EXPECTED: dict[str, str] = {
    "postgres_tests.test_array.TestMigrations.test_adding_arrayfield_with_index": (
        "its databases need the extension bloom, and the embedded server has no contrib modules"
    ),
    "postgres_tests.test_array.TestMigrations.test_adding_field_with_default": (
        "its databases need the extension bloom, and the embedded server has no contrib modules"
    ),
}
