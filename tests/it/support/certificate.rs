//! Certificates, made anew for each test by the openssl command: one for loopback that signs
//! itself, and those of clients with the authority that signs them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bedrock_meter::proxy::{ClientCertificates, TlsClientSettings, TlsSettings};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;

/// Certificate and key, in files.
pub(crate) struct Certificate {
    pub(crate) chain_file: PathBuf,
    pub(crate) key_file: PathBuf,
    _directory: TempDir,
}

impl Certificate {
    /// A certificate for 127.0.0.1 and localhost; `None`, with a word why, without openssl.
    pub(crate) fn make() -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let file = |name: &str| directory.path().join(name);
        let request = "[req]\ndistinguished_name=name\nx509_extensions=extensions\nprompt=no\n\
            [name]\nCN=localhost\n[extensions]\nbasicConstraints=critical,CA:FALSE\n\
            subjectAltName=DNS:localhost,IP:127.0.0.1\n";
        std::fs::write(file("request.cnf"), request).unwrap();
        openssl(
            "req -x509 -newkey ec -nodes -days 2 -pkeyopt ec_paramgen_curve:prime256v1 \
             -config request.cnf -keyout key.pem -out certificate.pem",
            directory.path(),
        )?;
        Some(Self {
            chain_file: file("certificate.pem"),
            key_file: file("key.pem"),
            _directory: directory,
        })
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&self.chain_file).unwrap()
    }

    /// A server with this certificate.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_file(&self.key_file).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate()], key);
        Arc::new(config.unwrap())
    }

    /// The listener's settings with this certificate.
    pub(crate) fn tls(&self) -> TlsSettings {
        TlsSettings {
            certificate_file: self.chain_file.clone(),
            key_file: self.key_file.clone(),
            clients: TlsClientSettings::default(),
        }
    }

    /// A client that trusts only this certificate and offers this protocol.
    pub(crate) fn client(&self, protocol: &str) -> Arc<ClientConfig> {
        self.client_of(protocol, None)
    }

    /// The same client, with a certificate of its own.
    pub(crate) fn client_with(&self, protocol: &str, own: &ClientIdentity) -> Arc<ClientConfig> {
        self.client_of(protocol, Some(own))
    }

    fn client_of(&self, protocol: &str, own: Option<&ClientIdentity>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder
                .with_client_auth_cert(vec![own.certificate.clone()], own.key.clone_key())
                .unwrap(),
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Arc::new(config)
    }
}

/// Who signs the certificates of clients.
pub(crate) struct Authority {
    directory: TempDir,
}

/// A client's certificate and key.
pub(crate) struct ClientIdentity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    /// A new one; `None`, with a word why, without openssl.
    pub(crate) fn make() -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let request = "[req]\ndistinguished_name=name\nx509_extensions=extensions\nprompt=no\n\
            [name]\nCN=authority\n[extensions]\nbasicConstraints=critical,CA:TRUE\n\
            keyUsage=critical,keyCertSign\n";
        std::fs::write(directory.path().join("request.cnf"), request).unwrap();
        openssl(
            "req -x509 -newkey ec -nodes -days 2 -pkeyopt ec_paramgen_curve:prime256v1 \
             -config request.cnf -keyout key.pem -out certificate.pem",
            directory.path(),
        )?;
        Some(Self { directory })
    }

    /// What a listener asks of its clients.
    pub(crate) fn clients(&self, certificates: ClientCertificates) -> TlsClientSettings {
        TlsClientSettings {
            certificates,
            ca_file: Some(self.directory.path().join("certificate.pem")),
        }
    }

    /// A client whose certificate has this subject alternative name, such as `DNS:a.example`.
    pub(crate) fn sign(&self, name: &str) -> ClientIdentity {
        let directory = self.directory.path();
        let extensions = format!(
            "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth\n\
             subjectAltName={name}\n"
        );
        std::fs::write(directory.join("client.cnf"), extensions).unwrap();
        for command in [
            "req -new -newkey ec -nodes -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=client \
             -keyout client-key.pem -out client.csr",
            "x509 -req -in client.csr -CA certificate.pem -CAkey key.pem -CAcreateserial -days 2 \
             -extfile client.cnf -out client.pem",
        ] {
            openssl(command, directory).unwrap();
        }
        ClientIdentity {
            certificate: CertificateDer::from_pem_file(directory.join("client.pem")).unwrap(),
            key: PrivateKeyDer::from_pem_file(directory.join("client-key.pem")).unwrap(),
        }
    }
}

/// Runs openssl in a directory; `None`, with a word why, where there is none.
fn openssl(arguments: &str, directory: &Path) -> Option<()> {
    let made = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(directory)
        .output();
    let Ok(made) = made else {
        crate::left_out::say("left out: TLS needs the openssl command to make a certificate");
        return None;
    };
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    Some(())
}
