# shellcheck shell=bash
# All that starts the peers, calls by them, and judges their calls. Whoever reads this is at the root of the tree.

# shellcheck source=tests/xds/lib/run.sh
. tests/xds/lib/run.sh
# shellcheck source=tests/xds/lib/programs.sh
. tests/xds/lib/programs.sh
# shellcheck source=tests/xds/lib/services.sh
. tests/xds/lib/services.sh
# shellcheck source=tests/xds/lib/control_planes.sh
. tests/xds/lib/control_planes.sh
# shellcheck source=tests/xds/lib/peers.sh
. tests/xds/lib/peers.sh
# shellcheck source=tests/xds/lib/agents.sh
. tests/xds/lib/agents.sh
# shellcheck source=tests/xds/lib/envoys.sh
. tests/xds/lib/envoys.sh
# shellcheck source=tests/xds/lib/rules.sh
. tests/xds/lib/rules.sh
