"""The same service with Django's own `migrate`."""
