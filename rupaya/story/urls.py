"""The addresses of the schema's story, under the admin site's."""

from django.urls import path

from rupaya.story import views

app_name = "schema"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("runs/<int:run_id>/", views.run, name="run"),
    path("timeline/", views.timeline, name="timeline"),
    path("drift/", views.drift, name="drift"),
    path("drift/accept/", views.accept, name="accept"),
    path("release/", views.release, name="release"),
    path("attic/", views.attic, name="attic"),
    path("tables/", views.tables, name="tables"),
    path("tables/<path:name>/columns/<str:column>/", views.column, name="column"),
    path("tables/<path:name>/", views.table, name="table"),
    path("diagram/", views.diagram, name="diagram"),
]
