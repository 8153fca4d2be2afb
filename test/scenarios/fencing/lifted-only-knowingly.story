# A fence is lifted while the replica serves: refused unless the duplicate is accepted, and then the condition says so for as long as both serve.
vm web on production

protect web from production to recovery
run web
fail over web fencing by nics
expect web on production disconnected
lift the fence of web
expect web on production disconnected
accept the duplicate of web on production
lift the fence of web accepting the duplicate
expect web on production connected
expect web to be unfenced-source
fence web by power-off
expect web on production off
expect web to be not unfenced-source
undo web
