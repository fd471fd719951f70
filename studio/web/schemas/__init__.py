"""What the API reads and answers: a model for every request and every response, the only description there is of them.

Requests are read by these models (`routing.JsonRoute`). Responses are described by theirs, and the tests hold every
answer that they see against it. A response may come to have more fields: the API adds, and never renames.
"""
