"""Well-known projects' whole histories, migrated by stock Django and by the migrator: `make projects-test`."""
