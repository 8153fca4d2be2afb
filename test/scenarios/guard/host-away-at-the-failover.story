# The host is away when its VM fails over, so it cannot be told. It hears of it with the first look after it is back, before anybody there thinks of starting the VM.
vm web on production
protect web from production to recovery
run web
start guard at production
production stops answering
power loss at production
fail over web fencing by power-off
fail over web
production answers again
the sources are looked at
look at the guard of production
try to start web on production
undo web
run web
