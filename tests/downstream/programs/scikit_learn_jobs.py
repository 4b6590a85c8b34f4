"""scikit-learn with n_jobs=2: cross-validation, a grid search, a forest, under both process backends of joblib."""

from joblib import parallel_config
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import GridSearchCV, cross_val_score

if __name__ == "__main__":
    data, labels = make_classification(400, 12, random_state=0)
    for backend in ("loky", "multiprocessing"):
        with parallel_config(backend=backend):
            print(backend, cross_val_score(LogisticRegression(), data, labels, n_jobs=2).round(3).tolist())
            search = GridSearchCV(LogisticRegression(), {"C": [0.01, 0.1, 1, 10]}, n_jobs=2, cv=3).fit(data, labels)
            print(search.best_params_, round(search.best_score_, 3))
            forest = RandomForestClassifier(20, n_jobs=2, random_state=1).fit(data, labels)
            print(round(forest.score(data, labels), 3))
            print(round(float(pairwise_distances(data, metric="cityblock", n_jobs=2).sum()), 3))
