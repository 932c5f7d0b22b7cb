from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from chat.views import chat
from orders import views

urlpatterns = [
    path("", views.shop, name="shop"),
    path("bestellen/<int:pk>/", views.place, name="place"),
    path("tafel/", views.board, name="board"),
    path("theke/", views.counter, name="counter"),
    path("theke/<int:pk>/", views.serve, name="serve"),
    path("chat/", chat, name="chat"),
    path("anmelden/", LoginView.as_view(), name="login"),
    path("abmelden/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    path("live/", include("broadcast.urls")),  # Broadcast: its pages and its API
]
