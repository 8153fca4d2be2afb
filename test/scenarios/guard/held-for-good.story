# After a permanent failover the old VM is not production any more. Its host keeps refusing to start it, also when nobody remembers why, until a person lets it go.
vm web on production
protect web from production to recovery
run web
start guard at production
fail over web fencing by power-off
make web permanent
the sources are looked at
wait 3 d
power loss at production
try to start web on production
let web start on production
the sources are looked at
look at the guard of production
