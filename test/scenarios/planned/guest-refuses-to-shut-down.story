# The guest ignores the request to shut down and nobody allowed more: the source goes on running, the points that led up to it stay.
vm web on production: ignores shutdown

protect web from production to recovery
run web
fail over web as planned within 30 s, give-up after that
expect the last operation failed
expect web on production running
expect web in Ready
