"""For frameworks: each module has the server call routes by the rules of the application.

    vivace.contrib.flask.init_app(app)
    MIDDLEWARE = ["vivace.contrib.django.RouteNames", ...]
    vivace.contrib.bottle.init_app(app)
    falcon.App(middleware=[vivace.contrib.falcon.RouteNames()])
    config.include("vivace.contrib.pyramid")

Served by anything else, an application that has one of them is what it was. See docs/tracing.md.
"""
