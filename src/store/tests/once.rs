//! Names that count once: in Redis for all gateways, in the embedded store across restarts.

use std::time::Duration;

use super::*;
use crate::store::Store;

const LIFE: Duration = Duration::from_secs(100);

#[tokio::test]
async fn a_name_is_spent_once_by_all_gateways() {
    let server = RedisServer::start();
    let [one, other] = [(); 2].map(|()| Store::open(&unix(&server)).unwrap());
    assert!(!one.is_spent("logout:a", NOW).await.unwrap());
    assert!(one.spend("logout:a", LIFE, NOW).await.unwrap());
    assert!(other.is_spent("logout:a", NOW).await.unwrap());
    assert!(!other.spend("logout:a", LIFE, NOW).await.unwrap());
    assert!(other.spend("logout:b", Duration::from_millis(1), NOW).await.unwrap());
    eventually(|| async { !one.is_spent("logout:b", NOW).await.unwrap() }).await;
}

#[tokio::test]
async fn the_embedded_store_keeps_what_was_spent() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(Address::Embedded { dir: dir.path().to_owned() });
    let store = Store::open(&settings).unwrap();
    assert!(!store.is_spent("logout:a", NOW).await.unwrap());
    assert!(store.spend("logout:a", LIFE, NOW).await.unwrap());
    assert!(!store.spend("logout:a", LIFE, NOW).await.unwrap());
    drop(store);
    let store = Store::open(&settings).unwrap();
    assert!(store.is_spent("logout:a", NOW).await.unwrap());
    // Its time is over: the sweep lets it go, and it may be spent anew.
    let later = NOW.plus(LIFE);
    assert!(!store.is_spent("logout:a", later).await.unwrap());
    store.sweep(later).await.unwrap();
    assert!(!store.is_spent("logout:a", NOW).await.unwrap());
    assert!(store.spend("logout:a", LIFE, later).await.unwrap());
    // Sweeping takes nothing that still counts.
    store.sweep(later).await.unwrap();
    assert!(store.is_spent("logout:a", later).await.unwrap());
}

#[tokio::test]
async fn of_many_who_spend_at_once_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(Address::Embedded { dir: dir.path().to_owned() });
    let store = std::sync::Arc::new(Store::open(&settings).unwrap());
    let spend = |store: std::sync::Arc<Store>| async move {
        store.spend("logout:a", LIFE, NOW).await.unwrap()
    };
    let tasks: Vec<_> = (0..16).map(|_| tokio::spawn(spend(store.clone()))).collect();
    let mut spent = 0;
    for task in tasks {
        spent += usize::from(task.await.unwrap());
    }
    assert_eq!(spent, 1);
}

/// R42: no answer is no answer.
#[tokio::test]
async fn a_store_that_is_down_says_neither() {
    let store = Store::open(&tcp(1)).unwrap();
    assert!(store.is_spent("logout:a", NOW).await.is_err());
    assert!(store.spend("logout:a", LIFE, NOW).await.is_err());
}
