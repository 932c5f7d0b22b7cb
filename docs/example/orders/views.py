from broadcast.subscriptions import SocketRequest
from django.contrib import messages
from django.contrib.admin.views.decorators import staff_member_required
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from .models import Order, Tea
from .signals import BOARD, COUNTER


def shop(request: HttpRequest) -> HttpResponse:
    return render(request, "orders/shop.html", {"teas": Tea.objects.all()})


@login_required
@require_POST
def place(request: HttpRequest, pk: int) -> HttpResponse:
    tea = get_object_or_404(Tea, pk=pk)
    order = Order.objects.create(tea=tea, guest=request.user)
    messages.success(request, f"Danke! {order} – wir rufen die Nummer an der Tafel auf.")
    return redirect("shop")


def board(request: HttpRequest) -> HttpResponse:
    return render(request, "orders/board.html", {"board": BOARD})


@staff_member_required(login_url="login")
def counter(request: SocketRequest) -> HttpResponse:
    """The orders that wait, and those that come while the page is open."""
    # First: what is placed between the two is seen twice, and never missed.
    request.socket.subscribe(COUNTER)
    orders = Order.objects.filter(is_ready=False).select_related("tea", "guest")
    return render(request, "orders/counter.html", {"orders": orders, "counter": COUNTER})


@staff_member_required(login_url="login")
@require_POST
def serve(request: SocketRequest, pk: int) -> HttpResponse:
    order = get_object_or_404(Order, pk=pk, is_ready=False)
    order.is_ready = True
    order.save()
    return redirect("counter")
