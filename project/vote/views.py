from uuid import uuid4

from django.http import HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render

from broadcast.subscriptions import SocketRequest

from .models import Vote


def vote(request: SocketRequest) -> HttpResponse:
    voter = request.session.setdefault("voter", uuid4().hex)
    if request.method == "POST":
        choice = request.POST.get("choice", "")
        if choice not in Vote.Choice:
            return HttpResponseBadRequest("There is no such choice.", "text/plain")
        Vote.objects.update_or_create(voter=voter, defaults={"choice": choice})
        pushed = None
        # Others push, too: the last of all pushes has the last of all votes.
        while pushed != (results := Vote.objects.results()):
            request.socket.push(results, "vote")
            pushed = results
        return redirect("vote")
    request.socket.subscribe("vote")
    mine = Vote.objects.filter(voter=voter).first()
    results = Vote.objects.results()
    choices = [(choice, results[choice]) for choice in Vote.Choice]
    context = {"choices": choices, "total": results["total"], "mine": mine}
    return render(request, "vote/vote.html", context)
