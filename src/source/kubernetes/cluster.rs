//! Which cluster a source follows, and how much of it: the text after `kubernetes:`.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::suggest::{did_you_mean, similar};

/// A cluster as a person names it: `context=staging`, `/etc/pointsman/kubeconfig`, `everything`, or
/// several of these with commas between them. Empty: the cluster of the agent's own pod, or the
/// current context of `$KUBECONFIG`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cluster {
    /// A kubeconfig file other than `$KUBECONFIG` and `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// A context other than the file's current one.
    pub context: Option<String>,
    /// Watch all services, whether callers ask for them or not.
    pub everything: bool,
    /// Watch all Pods and Nodes, too, for what endpoints take from them. It is no option of the text: one
    /// control plane can do so, but not the agent of every node.
    pub pods_and_nodes: bool,
}

impl FromStr for Cluster {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut cluster = Self::default();
        for option in text.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("context", name)) if !name.is_empty() => cluster.context = Some(name.into()),
                Some(("kubeconfig", path)) if !path.is_empty() => {
                    cluster.kubeconfig = Some(path.into());
                }
                None if option == "everything" => cluster.everything = true,
                None if option.contains('/') => cluster.kubeconfig = Some(option.into()),
                _ => {
                    let word = option.split('=').next().unwrap_or(option);
                    let hint =
                        did_you_mean(&similar(word, ["context", "kubeconfig", "everything"]));
                    return Err(format!(
                        "\"{option}\" is not an option of kubernetes{hint}: write kubernetes, \
                         kubernetes:context=NAME, kubernetes:/PATH/OF/KUBECONFIG or \
                         kubernetes:everything, several with commas between them"
                    ));
                }
            }
        }
        Ok(cluster)
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kubeconfig = self.kubeconfig.as_ref().map(|it| format!("kubeconfig={}", it.display()));
        let context = self.context.as_ref().map(|it| format!("context={it}"));
        let everything = self.everything.then(|| "everything".to_owned());
        let options: Vec<String> =
            [everything, kubeconfig, context].into_iter().flatten().collect();
        f.write_str("kubernetes")?;
        match options.is_empty() {
            true => Ok(()),
            false => write!(f, ":{}", options.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_reads_back_as_it_is_written() {
        for text in
            ["", "everything", "context=staging", "everything,kubeconfig=/etc/kube.yaml,context=a"]
        {
            let cluster: Cluster = text.parse().unwrap();
            let shown = cluster.to_string();
            let options = shown.strip_prefix("kubernetes").unwrap().trim_start_matches(':');
            assert_eq!(options, text);
            assert_eq!(options.parse::<Cluster>().unwrap(), cluster);
        }
        let by_path: Cluster = "/etc/kube.yaml".parse().unwrap();
        assert_eq!(by_path.to_string(), "kubernetes:kubeconfig=/etc/kube.yaml");
    }

    #[test]
    fn anything_else_is_refused_with_what_would_be_right() {
        let error = "contxt=a".parse::<Cluster>().unwrap_err();
        assert!(error.contains("did you mean \"context\"?"), "{error}");
        assert!("context=".parse::<Cluster>().is_err());
        assert!("all".parse::<Cluster>().unwrap_err().contains("kubernetes:everything"));
    }
}
