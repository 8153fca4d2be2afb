# The source was shut down for the last delta, and its site goes dark: there is nothing to fail over to without loss, so the operation goes back; it waits for a person where it cannot start the source, and a retry does.
vm web on production: ledger every 1 s

protect web from production to recovery
run web
fault at recovery.store.openPartial number 2: slow by 30 s
begin fail over web as planned
until the log says web on production: off
production stops answering
wait 5 min
until everything has settled
production answers again
retry web
until everything has settled
expect web on production running
expect web in Ready
run web
