# The controller dies while a test holds its VM: its successor carries the test to its end and takes everything away.
vm web on production

protect web from production to recovery
run web
begin test web with http:80 for 10 min
wait 30 s
the controller is killed
wait 1 min
a controller starts
until everything has settled
expect the last operation succeeded
expect web in Ready
