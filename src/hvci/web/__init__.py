"""The local web application: the same library calls, shown as pages and as HTTP endpoints.

It adds no analysis. Whatever reads a driver happens in the worker processes of a scan; this room
takes uploads, keeps answers and shows them. Needs the extra `hvci[web]`.
"""
