"""Where each address goes; probes are answered before this, by `rupaya.health.middleware`."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from rupaya.health.views import StatusView

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("health/", StatusView.as_view(), name="status"),
]
