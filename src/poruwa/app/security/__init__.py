"""People: sessions, forged requests, cookies and security fields of an app."""
