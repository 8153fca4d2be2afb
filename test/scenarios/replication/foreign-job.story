# Another backup program holds the VM: the run is refused by the host, tells whose fault it is, and works afterwards.
vm web on production

protect web from production to recovery
run web
foreign job on web: another program is backing it up
run web
expect the last operation failed with vm-busy
foreign job on web ends
run web
expect 2 points of web
