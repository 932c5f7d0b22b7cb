from django.contrib import admin

from .models import Order, Tea


@admin.register(Tea)
class TeaAdmin(admin.ModelAdmin):
    list_display = ["name", "price"]


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["__str__", "guest", "placed_at", "is_ready"]
    list_filter = ["is_ready"]
