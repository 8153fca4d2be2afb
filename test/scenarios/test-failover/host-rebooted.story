# The target host loses power while a test runs there: the test fails and says so, and its VM, network and branch are cleaned up when the host is back.
vm web on production

protect web from production to recovery
run web
begin test web with http:80 for 1 h
wait 10 s
power loss at recovery
recovery stops answering
wait 10 min
recovery answers again
until everything has settled
expect web in Ready
run web
