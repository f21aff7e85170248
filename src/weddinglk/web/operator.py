"""Who may edit: whoever shows the operator's token (RFC 6750), until there are accounts.

``poruwa up`` makes the token, keeps it in its state folder (``operator-token``, mode 0600) and
hands it to the instances as ``WEDDINGLK_OPERATOR_TOKEN``. An instance without one lets nobody edit.
"""

from __future__ import annotations

import hmac

from starlette.requests import Request
from starlette.responses import Response

from weddinglk.web.problem import problem_response

_REALM = 'Bearer realm="weddinglk"'


def refusal(request: Request, token: str) -> Response | None:
    """Return why the request may not edit: 401 or 403; None if it may.

    Args:
        token: the operator's; empty where there is none.
    """
    if not token:
        return problem_response(
            request,
            403,
            "Nobody may edit here: this instance was started without WEDDINGLK_OPERATOR_TOKEN.",
        )
    fields = request.headers.getlist("authorization")
    scheme, _, given = fields[0].partition(" ") if len(fields) == 1 else ("", "", "")
    if scheme.lower() != "bearer":
        return problem_response(
            request,
            401,
            "Send one field Authorization: Bearer TOKEN, with the operator's token; "
            "`poruwa up` keeps it in the file operator-token of its state folder.",
            headers={"WWW-Authenticate": _REALM},
        )
    # Bytes: compare_digest refuses text beyond ASCII, which a client may well send.
    if not hmac.compare_digest(given.strip(" ").encode(), token.encode()):
        return problem_response(
            request,
            401,
            "This is not the operator's token.",
            headers={"WWW-Authenticate": f'{_REALM}, error="invalid_token"'},
        )
    return None
