from __future__ import annotations

from contrib.django_site import views
from django.urls import path

urlpatterns = [
    path("chat", views.chat),
    path("achat", views.achat),
    path("whole", views.whole),
    path("health", views.health),
    path("state", views.state),
]
