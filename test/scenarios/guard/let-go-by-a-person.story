# A person lets the old VM start beside its replica, for a look at it. It stays free until its source is fenced again.
vm web on production
protect web from production to recovery
run web
start guard at production
fail over web fencing by power-off
let web start on production
the sources are looked at
look at the guard of production
accept the duplicate of web on production
start web on production
the sources are looked at
fence web by power-off
look at the guard of production
try to start web on production
undo web
