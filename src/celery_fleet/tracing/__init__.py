"""OpenTelemetry traces: what is sent, what runs, and what both of them call.

`context` hands trace ids on and imports nothing of OpenTelemetry; the other modules do, and are themselves imported only
where tracing is on.
"""
