"""What gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application
from django.db.backends.signals import connection_created

from rupaya.inspection import beyond

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rupaya.settings")

application = get_wsgi_application()
connection_created.connect(beyond.take)
