"""`n_plus_one`, cured: one query that joins."""

from __future__ import annotations

import library

library.set_up(__name__)

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402


class Author(models.Model):
    name = models.CharField(max_length=40)

    class Meta:
        app_label = "library"


class Book(models.Model):
    title = models.CharField(max_length=40)
    author = models.ForeignKey(Author, models.CASCADE)

    class Meta:
        app_label = "library"


def books(request: HttpRequest) -> JsonResponse:
    found = []
    for book in Book.objects.select_related("author")[:12]:
        found.append({"title": book.title, "author": book.author.name})  # noqa: PERF401
    return JsonResponse({"at": timezone.now(), "books": found})


urlpatterns = [path("books", books)]
library.fill(Author, Book)
app = get_wsgi_application()
