from __future__ import annotations

from django.urls import path

from chat import views

urlpatterns = [
    path("", views.page, {"path": "index.html"}),
    path("chat", views.chat),
    path("models", views.models),
    path("<path:path>", views.page),
]
