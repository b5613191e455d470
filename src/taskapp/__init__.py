"""A plain Celery application: application health, gathers, mail, reports, Prometheus targets.

`taskapp.app:app` is the Celery app. Tasks carry explicit names; queues, time limits and retry policies belong
to whoever deploys the app. Importing any module opens no connection, reads no file and writes none.
"""
