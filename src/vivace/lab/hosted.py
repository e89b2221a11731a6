"""The application under comparison, for servers that take `module:name` and know nothing of vivace's way to write it.

Rules: imported in the process of a peer, where LAB_APP and LAB_APP_DIR say which application. Without them there is
none, and the module is empty.
"""

from __future__ import annotations

import os

if "LAB_APP" in os.environ:
    from vivace.worker.application import load_application

    application = load_application(os.environ["LAB_APP"], os.environ["LAB_APP_DIR"])[0]
