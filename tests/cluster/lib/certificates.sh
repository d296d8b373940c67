# shellcheck shell=bash
# Who is who in a cluster: certificates of one authority. They are signed while the cluster runs, so
# that a node can be added at any time, which the API server's token file does not allow.
# Everything lies in the folder $identities, which whoever uses this sets: NAME.crt, NAME.key,
# NAME.kubeconfig.
# shellcheck disable=SC2154

new_key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
days=3650

# quietly COMMAND...: hides openssl's progress, which it prints to standard error
quietly() {
  local said
  said=$("$@" 2>&1) || { echo "$said" >&2 && return 1; }
}

make_authority() {
  mkdir -p "$identities"
  [ -e "$identities/authority.crt" ] && return
  quietly openssl req -x509 "${new_key[@]}" -days $days -subj /CN=authority \
    -keyout "$identities/authority.key" -out "$identities/authority.crt"
  # A separate key signs the tokens of service accounts.
  quietly openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out "$identities/tokens.key"
  quietly openssl pkey -in "$identities/tokens.key" -pubout -out "$identities/tokens.pub"
}

# certify NAME SUBJECT EXTENSIONS
certify() {
  local of=$identities/$1
  [ -e "$of.crt" ] && return
  quietly openssl req -new "${new_key[@]}" -subj "$2" -keyout "$of.key" -out "$of.csr"
  quietly openssl x509 -req -in "$of.csr" -days $days -extfile <(printf '%s\n' "$3") -out "$of.crt" \
    -CA "$identities/authority.crt" -CAkey "$identities/authority.key" -set_serial "0x$(openssl rand -hex 16)"
  rm "$of.csr"
}

# serving NAME SUBJECT-ALTERNATIVE-NAMES
serving() { certify "$1" "/CN=$1" "subjectAltName=$2"$'\n'extendedKeyUsage=serverAuth; }

# client NAME SUBJECT SERVER: also makes its kubeconfig, which needs no other file
client() {
  local of=$identities/$1
  certify "$1" "$2" extendedKeyUsage=clientAuth
  cat >"$of.kubeconfig" <<KUBECONFIG
apiVersion: v1
kind: Config
current-context: $1
contexts: [{name: $1, context: {cluster: test, user: $1}}]
clusters:
- name: test
  cluster: {server: "$3", certificate-authority-data: $(base64 -w 0 "$identities/authority.crt")}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w 0 "$of.crt"), client-key-data: $(base64 -w 0 "$of.key")}
KUBECONFIG
}
