# The guest ignores the request; a person is asked, first waits, then has it powered off.
vm web on production: ignores shutdown

protect web from production to recovery
run web
begin fail over web as planned within 30 s, ask after that
wait 2 min
begin answer web: wait
wait 2 min
begin answer web: power-off
until everything has settled
expect web in Failover
expect web on production off
undo web
