"""Page sockets: one socket of a rendered page, which hears channels and calls views.

A view subscribes its page by `request.socket`; the page opens its socket with the connection id
that is in its markup. Out go what is pushed to its channels, from the position at which it was
subscribed, and the answers of the views and handlers that it calls. Nothing is lost between
rendering and opening, and a page follows its session and its subscriptions in whatever process it
is.
"""
