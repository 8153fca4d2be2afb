# A host with a start guard refuses to start a VM whose replica serves, whoever tries and after a power loss, too. The undo lets it go, and starts it.
vm web on production

protect web from production to recovery
run web
start guard at production
fail over web fencing by power-off
try to start web on production
power loss at production
try to start web on production
undo web
expect web to be not unfenced-source
run web
