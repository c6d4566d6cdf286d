"""What people see who are limited to tenants: their tenants' things, and nothing else.

Everything that the API answers with is read from a workspace and an instance. Limited people get
views of both (workspace.py, instance.py and what they are made of). A view is made by an allow
list: what it does not say how to limit is refused, and so is a field of the API, or a route, that
nobody has looked at (fields.py, routes.py).
"""
